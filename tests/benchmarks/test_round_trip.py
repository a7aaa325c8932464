"""The round trips on tiny models, and that a wrong symbol would be noticed."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ldm_ae.pretrained import load_codec

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "codec" / "golden"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("round_trip")
    # Compiling takes a minute of C++; the whole benchmark does it.
    monkeypatch.setattr(module, "WAYS", [way for way in module.WAYS if not way.compiled])
    return module


@pytest.mark.parametrize("name", ["kl_context_v1", "vq_v1"])
def test_symbols_come_back_whoever_wrote_and_reads(benchmark: ModuleType, name: str) -> None:
    codec, done = load_codec(GOLDEN / name), []
    pictures = {key: benchmark.special_pictures()[key] for key in ("1x1", "7x1031")}
    reader = load_codec(GOLDEN / name)
    result = benchmark.check(codec, codec, reader, pictures, lambda: done.append(1))
    assert result["differing"] == [] and len(done) == 2
    more = 0 if codec.content.discrete else 4  # the coarsest and the finest, of two pictures
    # Three writers; of the first, eight readers at once beside two alone.
    assert (result["files"], result["reads"]) == (6 + more, 2 * (10 + 2 + 2) + more)


def test_a_wrong_symbol_is_reported(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, read = load_codec(GOLDEN / "vq_v1"), benchmark.read

    def wrong(codec, data, way) -> list[np.ndarray]:
        found = read(codec, data, way)
        return [symbols + (way.threads == 2) for symbols in found]

    monkeypatch.setattr(benchmark, "read", wrong)
    pictures = {"1x1": benchmark.special_pictures()["1x1"]}
    result = benchmark.check(codec, codec, codec, pictures, lambda: None)
    assert {reader for *_, reader in result["differing"]} == {"2 threads"}
    assert len(result["differing"]) == 3
