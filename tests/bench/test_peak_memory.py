import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ldm_ae.bench import peak_memory as module
from ldm_ae.bench.coder import Point
from ldm_ae.bench.peak_memory import peak_memory

PIXELS = np.zeros((8, 8, 3), np.uint8)
POINT = Point("", 0)


class Greedy:
    """Takes so many MiB to encode, and gives them back."""

    name = "greedy"
    points = (POINT,)

    def __init__(self, mebibytes: int) -> None:
        self.mebibytes, self.identity = mebibytes, {"kind": "test"}

    def encode(self, pixels, point: Point) -> bytes:
        return bytes(np.ones(self.mebibytes << 20, np.uint8)[:1])

    def decode(self, file: bytes, point: Point):
        return PIXELS


@pytest.mark.skipif(not module.STATUS.exists(), reason="only Linux tells the peak")
def test_what_coding_takes_is_seen_in_a_process_of_its_own() -> None:
    found = peak_memory(partial(Greedy, 300), PIXELS, POINT)
    assert 290 < found["coding_mib"] < 340
    assert found["loading_mib"] < 20


class Starting(Greedy):
    """Has another program take the memory."""

    def encode(self, pixels, point: Point) -> bytes:
        code = f"x = bytearray(b'1') * ({self.mebibytes} << 20)"
        return subprocess.run([sys.executable, "-c", code], capture_output=True).stdout


@pytest.mark.skipif(not module.STATUS.exists(), reason="only Linux tells the peak")
def test_what_a_program_takes_that_is_started_counts_too() -> None:
    found = peak_memory(partial(Starting, 200), PIXELS, POINT)
    assert 200 < found["coding_mib"] < 260


def test_where_it_cannot_be_had_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS", Path("/nowhere/status"))
    found = peak_memory(partial(Greedy, 1), PIXELS, POINT)
    assert found["coding_mib"] is None
    assert "Linux" in found["reason"]
