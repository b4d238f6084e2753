"""One thread, seeded streams that do not leak between tests, and no GPU test without a GPU."""

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fork_rng() -> Iterator[None]:
    """Every test starts from the same global random state and leaves none behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip ``gpu`` tests where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
