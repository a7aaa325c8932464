"""The round trips on tiny models, and that a wrong symbol would be noticed."""

from pathlib import Path

import numpy as np
import pytest

from ldm_ae.bench import round_trip
from ldm_ae.bench.round_trip import check, special_pictures
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes a minute of C++; the whole benchmark does it."""
    ways = [way for way in round_trip.WAYS if not way.compiled]
    monkeypatch.setattr(round_trip, "WAYS", ways)


@pytest.mark.parametrize("name", ["kl_context_v1", "vq_v1"])
def test_symbols_come_back_whoever_wrote_and_reads(name: str) -> None:
    codec, done = load_codec(GOLDEN / name), []
    pictures = {key: special_pictures()[key] for key in ("1x1", "7x1031")}
    reader = load_codec(GOLDEN / name)
    result = check(codec, codec, reader, pictures, lambda: done.append(1))
    assert result["differing"] == [] and len(done) == 2
    more = 0 if codec.content.discrete else 4  # the coarsest and the finest, of two pictures
    # Three writers; of the first, eight readers at once beside two alone.
    assert (result["files"], result["reads"]) == (6 + more, 2 * (10 + 2 + 2) + more)


def test_a_wrong_symbol_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, read = load_codec(GOLDEN / "vq_v1"), round_trip.read

    def wrong(codec, data, way) -> list[np.ndarray]:
        found = read(codec, data, way)
        return [symbols + (way.threads == 2) for symbols in found]

    monkeypatch.setattr(round_trip, "read", wrong)
    pictures = {"1x1": special_pictures()["1x1"]}
    result = check(codec, codec, codec, pictures, lambda: None)
    assert {reader for *_, reader in result["differing"]} == {"2 threads"}
    assert len(result["differing"]) == 3
