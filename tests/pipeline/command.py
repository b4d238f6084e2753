"""The tiny study, and the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GAUSSIAN = str(Path(__file__).with_name("gaussian.py"))
TINY = ("trainer.steps=60", "trainer.batch_size=8", "trainer.checkpoint_every=0", "sampler.batch_size=8", "n=40")


def sciflow(*args: str | Path, kill_in: str = "", kill_by: str = "SIGKILL") -> subprocess.CompletedProcess[str]:
    """``python -m sciflow …``; ``kill_in`` names where the study dies, ``kill_by`` the signal."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "KILL_IN": kill_in, "KILL_BY": kill_by}
    command = [sys.executable, "-m", "sciflow", *map(str, args)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
