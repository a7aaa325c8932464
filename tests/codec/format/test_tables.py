import numpy as np
import pytest

from ldm_ae.codec.format.tables import FrequencyTables, integer_counts

GOOD = [np.array([3, 9, 3, 1]), np.array([8, 8])]


def test_rows_models_and_bits() -> None:
    tables = FrequencyTables.of(GOOD)
    assert len(tables) == 2 and tables.row(1).tolist() == [8, 8] and tables.most(0) == 1
    assert tables.model(0) is tables.model(0)
    bits = tables.bits(np.array([0, 1, 0]), np.array([3, 0, 1]))
    assert bits == pytest.approx(np.array([4, 1, np.log2(16 / 9)]))
    tables.require_signed()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[3, 9, 3, 2]], "power of two"),
        ([[1, 1, 1, 1]], "power of two"),  # a sum of 4 is too small
        ([[16, 0]], "counts must lie"),
        ([[-1, 17]], "counts must lie"),
        ([[1 << 25, 1 << 25]], "counts must lie"),
        ([[16]], "widths"),
    ],
)
def test_broken_tables_are_refused(rows: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrequencyTables.of([np.array(row) for row in rows])


@pytest.mark.parametrize("widths", [[4, 3], [6, 0], [2**62, 2**62, 6], [], [7, -1]])
def test_widths_must_add_up(widths: list[int]) -> None:
    counts = np.concatenate(GOOD)
    with pytest.raises(ValueError, match="frequency tables"):
        FrequencyTables(counts, np.array(widths, dtype=np.int64))


def test_odd_rows_hold_no_signed_symbols() -> None:
    with pytest.raises(ValueError, match="2 M \\+ 2"):
        FrequencyTables.of([np.array([4, 8, 4])]).require_signed()


def test_integer_counts_are_near_and_never_zero() -> None:
    weights = np.array([0.0, 1e-9, 0.2, 0.8])
    counts = integer_counts(weights)
    assert counts.sum() == 65536 and counts.min() == 1
    assert np.abs(counts / 65536 - weights / weights.sum()).max() < 1e-4
    with pytest.raises(ValueError, match="do not fit"):
        integer_counts(np.ones(40), 64)
