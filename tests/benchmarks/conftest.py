"""Scripts in this process: another start of Python would be most of a test's time."""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(script: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        # One of them sets it, for processes that it starts.
        monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        threads = torch.get_num_threads()
        try:
            runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        finally:
            torch.set_num_threads(threads)

    return run
