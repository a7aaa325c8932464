import numpy as np
import pytest

from ldm_ae.codec.priors.tables import FrequencyTables

GOOD = [np.array([3, 9, 3, 1]), np.array([8, 8])]


def test_rows_models_and_bits() -> None:
    tables = FrequencyTables.of(GOOD)
    assert len(tables) == 2 and tables.row(1).tolist() == [8, 8]
    assert tables.most.tolist() == [1, 0] and tables.zeros.tolist() == [1, 4]
    assert tables.model(0) is tables.model(0)
    middle = np.log2(16 / 9)
    side = np.log2(16 / 3)
    assert tables.bits == pytest.approx(np.array([side, middle, side, 4, 1, 1]))
    assert tables.saved[:3] == pytest.approx(np.array([side - middle, 0, side - middle]))
    tables.require_signed(2)


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
        FrequencyTables.of([np.array([4, 8, 4])]).require_signed(1)
    with pytest.raises(ValueError, match="2 rows, expected 3"):
        FrequencyTables.of(GOOD).require_signed(3)
    with pytest.raises(ValueError, match="expected one of all codes"):
        FrequencyTables.of(GOOD).require_only()
