import numpy as np
import pytest

from ldm_ae.codec.format.coder import Decoder, Encoder, equally_likely, model_of

COUNTS = [np.array([12, 4]), np.array([1, 2, 3, 10])]


def test_entries_of_many_models_come_back(reference) -> None:
    rng, encoder = np.random.default_rng(0), Encoder()
    models = [model_of(counts) for counts in COUNTS] + [equally_likely(8)]
    entries = [rng.integers(0, size, 50) for size in (2, 4, 8)]
    for model, each in zip(models, entries, strict=True):
        encoder.put(model, each)
    payload = encoder.finish()
    decoder = Decoder(payload)
    for model, each in zip(models, entries, strict=True):
        assert (decoder.take(model, 50) == each).all()
    decoder.finish()
    coder = reference.ReferenceCoder(payload)
    for counts, each in zip(COUNTS, entries, strict=False):
        assert [coder.entry(counts.tolist()) for _ in each] == each.tolist()
    assert [coder.equal(8) for _ in entries[2]] == entries[2].tolist()


def test_each_entry_with_counts_of_its_own(reference) -> None:
    rng = np.random.default_rng(2)
    counts, entries = rng.integers(1, 1000, (50, 17)), rng.integers(0, 17, 50)
    encoder = Encoder()
    encoder.put_each(counts[:20], entries[:20])
    encoder.put_each(counts[20:], entries[20:])
    payload = encoder.finish()
    # Pieces may be cut otherwise.
    assert (Decoder(payload).take_each(counts) == entries).all()
    coder = reference.ReferenceCoder(payload)
    assert [coder.entry(row) for row in counts.tolist()] == entries.tolist()


def test_bytes_that_are_no_payload() -> None:
    with pytest.raises(ValueError, match="corrupt"):
        Decoder(b"\xff" * 12).take(equally_likely(4), 100)
    with pytest.raises(ValueError, match="whole words"):
        Decoder(b"12345")


def test_left_over_words_are_noticed() -> None:
    encoder, model = Encoder(), model_of(COUNTS[0])
    encoder.put(model, np.array([0, 1, 0]))
    decoder = Decoder(encoder.finish() + b"\x01\x02\x03\x04" * 3)
    decoder.take(model, 3)
    with pytest.raises(ValueError, match="longer than its symbols"):
        decoder.finish()
