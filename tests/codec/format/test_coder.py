import numpy as np
import pytest

from ldm_ae.codec.format.coder import SymbolDecoder, SymbolEncoder
from ldm_ae.codec.format.tables import FrequencyTables, integer_counts


@pytest.fixture
def tables() -> FrequencyTables:
    rng = np.random.default_rng(0)
    widths = [2, 4, 12, 40, 400]
    return FrequencyTables.of([integer_counts(rng.dirichlet(np.full(n, 0.3))) for n in widths])


def data(tables: FrequencyTables, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in no order, values with every kind of escape."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(tables), size)
    values = np.rint(rng.laplace(0, 4, size)).astype(np.int64)
    values[:: max(1, size // 60)] *= 700
    return rows, values


@pytest.mark.parametrize("size", [0, 1, 2, 3000])
def test_signed_symbols_come_back(tables: FrequencyTables, size: int) -> None:
    rows, values = data(tables, size)
    encoder = SymbolEncoder()
    encoder.put_signed(tables, rows, values)
    decoder = SymbolDecoder(encoder.finish())
    found = decoder.take_signed(tables, rows)
    assert found.dtype == np.int64 and (found == values).all()
    decoder.finish()


def test_the_largest_escapes_fit(tables: FrequencyTables) -> None:
    values = np.array([32767, -32767, 1, -1, 0])
    rows = np.zeros(5, dtype=np.int64)
    encoder = SymbolEncoder()
    encoder.put_signed(tables, rows, values)
    assert (SymbolDecoder(encoder.finish()).take_signed(tables, rows) == values).all()


def test_each_symbol_with_its_own_distribution(reference) -> None:
    rng = np.random.default_rng(2)
    frequencies = rng.integers(1, 1000, (50, 17))
    entries = rng.integers(0, 17, 50)
    encoder = SymbolEncoder()
    encoder.put_each([frequencies[:20], frequencies[20:]], entries)
    payload = encoder.finish()
    # Pieces may be cut otherwise.
    assert (SymbolDecoder(payload).take_each([frequencies]) == entries).all()
    coder = reference.ReferenceCoder(payload)
    assert [coder.entry(row) for row in frequencies.tolist()] == entries.tolist()


def test_reference_decoder_agrees(tables: FrequencyTables, reference) -> None:
    rows, values = data(tables, 500)
    encoder = SymbolEncoder()
    encoder.put_signed(tables, rows, values)
    encoder.put_signed(tables, rows[::-1], values)
    coder = reference.ReferenceCoder(encoder.finish())
    counts = [tables.row(index).tolist() for index in range(len(tables))]
    assert reference.signed(coder, counts, rows.tolist()) == values.tolist()
    assert reference.signed(coder, counts, rows[::-1].tolist()) == values.tolist()


def test_garbage_gives_symbols_or_an_error(tables: FrequencyTables) -> None:
    rng, rows = np.random.default_rng(3), data(tables, 200)[0]
    refused = 0
    for size in range(60):
        decoder = SymbolDecoder(rng.bytes(4 * size) if size else b"")
        try:
            assert len(decoder.take_signed(tables, rows)) == 200
            decoder.finish()
        except ValueError:
            refused += 1
    assert refused > 0
    with pytest.raises(ValueError, match="corrupt"):
        SymbolDecoder(b"\xff" * 12).take_signed(tables, rows)
    with pytest.raises(ValueError, match="whole words"):
        SymbolDecoder(b"12345")


def test_left_over_words_are_noticed(tables: FrequencyTables) -> None:
    encoder = SymbolEncoder()
    encoder.put(tables, np.zeros(3, dtype=np.int64), np.array([0, 1, 0]))
    decoder = SymbolDecoder(encoder.finish() + b"\x01\x02\x03\x04" * 3)
    decoder.take(tables, np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="longer than its symbols"):
        decoder.finish()
