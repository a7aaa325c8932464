"""The fuzzer itself, on tiny models, and that it would notice what it looks for."""

import zlib
from pathlib import Path

import pytest

from ldm_ae.bench.codec_fuzz import fuzz, with_plausible_header
from ldm_ae.codec.format import container
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.mark.parametrize(
    ("name", "number"),
    [("kl_v1", 1000), ("vq_v1", 1000), ("kl_context_v1", 100), ("vq_context_v1", 400)],
)
def test_damaged_files(name: str, number: int) -> None:
    outcome = fuzz(load_codec(GOLDEN / name), number, seed=7)
    assert sum(outcome.refused.values()) + outcome.decoded == number
    assert outcome.decoded > number / 100, "some reach the end: their checksums were made to suit"
    reached = " ".join(outcome.refused)
    for message in ("checksum", "cut short", "written with model"):
        assert message in reached
    if number == 1000:  # enough to come by these, too
        assert "payload is corrupt" in reached and "alpha plane" in reached
    assert outcome.memory_mb < 600


def test_a_reader_without_checksum_is_noticed(monkeypatch) -> None:
    codec, read = load_codec(GOLDEN / "kl_v1"), container.read

    def lenient(data: bytes) -> container.LaeFile:
        data = with_plausible_header(data, codec.digest)
        return read(data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little"))

    monkeypatch.setattr(container, "read", lenient)
    with pytest.raises(AssertionError, match="was not refused"):
        fuzz(codec, 1000, seed=7)
