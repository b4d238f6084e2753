"""A tiny study and its configuration."""

import pytest
from command import GAUSSIAN, TINY

from sciflow.pipeline.config import Config, load_config


@pytest.fixture
def gaussian() -> str:
    """The study's file."""
    return GAUSSIAN


@pytest.fixture
def tiny() -> Config:
    """Its configuration, small enough for a second."""
    return load_config(GAUSSIAN, TINY)
