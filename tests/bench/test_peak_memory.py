from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ldm_ae.bench import peak_memory as module
from ldm_ae.bench.peak_memory import peak_memory
from ldm_ae.bench.rate_distortion import Point

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


def test_where_it_cannot_be_had_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS", Path("/nowhere/status"))
    found = peak_memory(partial(Greedy, 1), PIXELS, POINT)
    assert found["coding_mib"] is None
    assert "Linux" in found["reason"]
