from fractions import Fraction

import numpy as np
import pytest

from ldm_ae.codec.priors.frequencies import (
    LARGEST_TOTAL,
    counts_of_logs,
    excess_of,
    exponents_of,
    integer_counts,
    outside,
    powers,
)


def test_integer_counts_are_near_and_never_zero() -> None:
    weights = np.array([0.0, 1e-9, 0.2, 0.8])
    counts = integer_counts(weights)
    assert counts.sum() == 65536 and counts.min() == 1
    assert np.abs(counts / 65536 - weights / weights.sum()).max() < 1e-4
    with pytest.raises(ValueError, match="do not fit"):
        integer_counts(np.ones(40), 64)


def test_frequencies_are_positive_and_sum_to_a_power_of_two() -> None:
    rng = np.random.default_rng(0)
    logs = rng.integers(-20_000, 20_000, (6, 16_384))
    logs[0] = 5
    logs[1] = np.arange(16_384) == 3
    logs[2] = (np.arange(16_384) == 3) * 60_000
    found = counts_of_logs(logs)
    assert found.min() >= 1 and (found.sum(axis=1) == LARGEST_TOTAL).all()
    assert found[2, 3] == LARGEST_TOTAL - 16_383 - (found[2] - 1)[np.arange(16_384) != 3].sum()


def test_frequencies_follow_the_logarithms() -> None:
    found = counts_of_logs(np.array([[0, -256, -128, -1024]]))[0] / LARGEST_TOTAL
    expected = np.array([1, 0.5, 0.5**0.5, 1 / 16])
    assert found == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_powers_are_floors() -> None:
    for index in (0, 1, 100, 255, 256, 1000, 5119):
        power = Fraction(2) ** (20 * 256 - index)
        value = int(powers()[index])
        assert Fraction(value) ** 256 <= power < Fraction(value + 1) ** 256


def test_excesses_are_all_numbers_in_turn() -> None:
    """Beyond most = 3: 4, -4, 5, -5, ... are 0, 1, 2, 3, ..."""
    values, most = np.array([4, -4, 5, -5, 32767, -32767]), np.full(6, 3)
    excess = excess_of(values, most)
    assert excess.tolist() == [0, 1, 2, 3, 65526, 65527]
    assert (outside(excess, most) == values).all()
    assert exponents_of(excess).tolist() == [0, 1, 1, 2, 15, 15]
