import math

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from ldm_ae.metrics.bd_rate import Pchip, bd_rate, best_of

ANCHOR = [(0.1, 26.0), (0.25, 29.5), (0.5, 32.0), (1.0, 35.5)]


def scaled(factor: float) -> list[tuple[float, float]]:
    return [(factor * rate, metric) for rate, metric in ANCHOR]


@pytest.mark.parametrize(("factor", "percent"), [(1.0, 0.0), (0.5, -50.0), (2.0, 100.0)])
def test_a_rate_that_is_a_multiple_everywhere(factor: float, percent: float) -> None:
    result = bd_rate(ANCHOR, scaled(factor))
    assert result.percent == pytest.approx(percent, abs=1e-9)
    assert (result.low, result.high) == (26.0, 35.5)


def test_the_order_of_the_points_does_not_matter() -> None:
    result = bd_rate(ANCHOR[::-1], [*scaled(0.5)[2:], *scaled(0.5)[:2]])
    assert result.percent == pytest.approx(-50.0)


def test_only_the_common_range_counts() -> None:
    """Two straight lines in log rate, 1 dB an octave; by hand: the test one needs half the rate at
    30 dB and the same at 34 dB, on average over the logarithm sqrt(1/2)."""
    anchor = [(0.0625 * 2**k, 28.0 + k) for k in range(9)]
    line = [(0.25 * 2 ** (m - 30) * 0.5 ** ((34 - m) / 4), m) for m in (30.0, 31.0, 33.0, 34.0)]
    result = bd_rate(anchor, line)
    assert (result.low, result.high) == (30.0, 34.0)
    assert result.percent == pytest.approx(100 * (math.sqrt(0.5) - 1))
    assert (line[0], line[-1]) == ((0.125, 30.0), (4.0, 34.0))  # where the anchor has 0.25 and 4


def test_a_metric_where_less_is_better() -> None:
    anchor = [(rate, 1 / metric) for rate, metric in ANCHOR]
    test = [(0.7 * rate, metric) for rate, metric in anchor]
    result = bd_rate(anchor, test, higher_is_better=False)
    assert result.percent == pytest.approx(-30.0)
    assert (result.low, result.high) == (1 / 35.5, 1 / 26.0)


def test_without_a_common_range_there_is_a_reason() -> None:
    result = bd_rate(ANCHOR, [(0.1, 10.0), (1.0, 20.0)])
    assert result.percent is None
    assert result.reason is not None and "26 to 35.5" in result.reason
    assert "10 to 20" in result.reason
    lower = bd_rate([(0.1, 0.5), (1.0, 0.4)], [(0.1, 0.3), (1.0, 0.1)], higher_is_better=False)
    assert lower.reason is not None and "0.4 to 0.5" in lower.reason


def test_one_point_is_no_curve() -> None:
    assert bd_rate(ANCHOR, ANCHOR[:1]).reason == "a curve has fewer than two points that count"
    assert bd_rate([], ANCHOR).percent is None


def test_points_that_a_cheaper_one_beats_do_not_count() -> None:
    worse = [*ANCHOR, (0.6, 31.0), (0.25, 29.0)]
    assert bd_rate(ANCHOR, worse).percent == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("point", [(0.0, 30.0), (-1.0, 30.0), (0.2, math.nan), (math.inf, 30.0)])
def test_values_that_no_curve_has_are_refused(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite values and positive rates"):
        bd_rate([*ANCHOR, point], ANCHOR)


@pytest.mark.parametrize("num_points", [2, 3, 7])
def test_the_interpolation_is_scipys(num_points: int) -> None:
    generator = np.random.default_rng(num_points)
    for _ in range(20):
        x = np.cumsum(generator.uniform(0.1, 2, num_points))
        y = generator.normal(size=num_points)
        ours, theirs = Pchip(x, y), PchipInterpolator(x, y)
        for at in np.linspace(x[0], x[-1], 17):
            assert ours(at) == pytest.approx(float(theirs(at)), abs=1e-12)
        low, high = x[0] + 0.2 * (x[-1] - x[0]), x[-1]
        assert ours.integral(low, high) == pytest.approx(theirs.integrate(low, high), abs=1e-12)


def test_pchip_refuses_what_it_cannot_join() -> None:
    with pytest.raises(ValueError, match="two points or more"):
        Pchip([1.0], [1.0])
    with pytest.raises(ValueError, match="rise"):
        Pchip([1.0, 1.0], [1.0, 2.0])


def test_the_envelope_takes_the_better_setting_at_each_rate() -> None:
    low_rates = [(0.1, 26.0), (0.5, 30.0), (1.0, 31.0)]
    high_rates = [(0.1, 24.0), (0.5, 30.5), (1.0, 34.0)]
    envelope = best_of([low_rates, high_rates])
    expected = [(0.1, 26.0), (0.5, 30.5), (1.0, 34.0)]
    assert np.array(envelope) == pytest.approx(np.array(expected))
    turned = [[(rate, -value) for rate, value in curve] for curve in (low_rates, high_rates)]
    envelope = best_of(turned, higher_is_better=False)
    assert np.array(envelope) == pytest.approx(np.array([(r, -v) for r, v in expected]))
    assert best_of([]) == []
