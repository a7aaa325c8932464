"""Bjontegaard delta rate: by how many per cent one curve needs more bits than another.

With R(m) the logarithm of the rate as a function of the metric, interpolated by PCHIP, and [a, b]
the range of the metric both curves cover (Bjontegaard 2001, VCEG-M33; PCHIP instead of a cubic, as
in VCEG-AL22):

    BD-rate = exp( 1 / (b - a) * integral_a^b R_test(m) - R_anchor(m) dm ) - 1
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ldm_ae.errors import UserError

Floats = NDArray[np.float64]
Curve = Sequence[tuple[float, float]]  # (rate, metric), in any order


@dataclass(frozen=True)
class BDRate:
    """percent: negative is fewer bits than the anchor; None for `reason`. low, high: the range."""

    percent: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def bd_rate(anchor: Curve, test: Curve, *, higher_is_better: bool = True) -> BDRate:
    """BD-rate of `test` against `anchor` over the common range of the metric.

    Only points that no other point of the same curve beats in both rate and metric count. PSNR is
    in dB; other metrics are taken as they are. Raises UserError for a rate that is not positive
    and for values that are not finite.
    """
    rates_a, metric_a = _monotone(anchor, higher_is_better)
    rates_t, metric_t = _monotone(test, higher_is_better)
    if min(len(rates_a), len(rates_t)) < 2:
        return BDRate(None, reason="a curve has fewer than two points that count")
    low = max(metric_a[0], metric_t[0])
    high = min(metric_a[-1], metric_t[-1])
    if not low < high:
        ends = [sorted((abs(m[0]), abs(m[-1]))) for m in (metric_a, metric_t)]
        return BDRate(
            None,
            reason="no common range of the metric: the anchor covers "
            f"{ends[0][0]:.4g} to {ends[0][1]:.4g}, the other {ends[1][0]:.4g} to {ends[1][1]:.4g}",
        )
    difference = Pchip(metric_t, rates_t).integral(low, high)
    difference -= Pchip(metric_a, rates_a).integral(low, high)
    percent = 100 * math.expm1(difference / (high - low))
    bounds = (low, high) if higher_is_better else (-high, -low)
    return BDRate(percent, *bounds)


def best_of(curves: Sequence[Curve], *, higher_is_better: bool = True) -> list[tuple[float, float]]:
    """The upper envelope of several settings of one codec, by rate.

    A point stays unless another setting's interpolated curve is better at its rate.
    """
    sign = 1.0 if higher_is_better else -1.0
    sorted_curves = [_by_rate(curve, higher_is_better) for curve in curves]
    kept = []
    for index, (rates, metric) in enumerate(sorted_curves):
        for rate, value in zip(rates, metric, strict=True):
            others = [c for i, c in enumerate(sorted_curves) if i != index and len(c[0]) > 1]
            beaten = any(r[0] <= rate <= r[-1] and Pchip(r, m)(rate) > value for r, m in others)
            if not beaten:
                kept.append((math.exp(rate), sign * value))
    return sorted(kept)


class Pchip:
    """Monotone piecewise cubic through (x, y), x rising (Fritsch and Butland 1984), as scipy's.

    Slopes inside are weighted harmonic means of the neighbouring secants, 0 at an extremum; at the
    ends the three-point formula, kept from overshooting.
    """

    def __init__(self, x: ArrayLike, y: ArrayLike) -> None:
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if self.x.ndim != 1 or self.x.shape != self.y.shape or len(self.x) < 2:
            raise UserError(f"two points or more, got x {self.x.shape} and y {self.y.shape}")
        self.step = np.diff(self.x)
        if not (self.step > 0).all():
            raise UserError("x must rise from point to point")
        self.slope = _slopes(self.step, np.diff(self.y) / self.step)

    def __call__(self, at: float) -> float:
        """The value at a place within [x[0], x[-1]]."""
        piece, t = self._piece(at)
        a, b, c, d = self._coefficients(piece)
        return float(a + t * (b + t * (c + t * d)))

    def integral(self, low: float, high: float) -> float:
        """Exact integral between two places within [x[0], x[-1]]."""
        return self._from_start(high) - self._from_start(low)

    def _from_start(self, end: float) -> float:
        last, t = self._piece(end)
        pieces = [self._area(piece, self.step[piece]) for piece in range(last)]
        return math.fsum([*pieces, self._area(last, t)])

    def _area(self, piece: int, t: float) -> float:
        a, b, c, d = self._coefficients(piece)
        return float(t * (a + t * (b / 2 + t * (c / 3 + t * d / 4))))

    def _piece(self, at: float) -> tuple[int, float]:
        piece = int(np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.step) - 1))
        return piece, float(at - self.x[piece])

    def _coefficients(self, piece: int) -> tuple[float, float, float, float]:
        """Of 1, t, t^2, t^3 with t from the piece's start: the cubic Hermite polynomial."""
        h, y0, y1 = self.step[piece], self.y[piece], self.y[piece + 1]
        d0, d1, secant = self.slope[piece], self.slope[piece + 1], (y1 - y0) / h
        return y0, d0, (3 * secant - 2 * d0 - d1) / h, (d0 + d1 - 2 * secant) / h**2


def _slopes(step: Floats, secant: Floats) -> Floats:
    if len(step) == 1:
        return np.repeat(secant, 2)
    left, right = secant[:-1], secant[1:]
    weight_left, weight_right = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    inner = np.zeros_like(left)
    same = left * right > 0
    inner[same] = (weight_left + weight_right)[same] / (
        weight_left[same] / left[same] + weight_right[same] / right[same]
    )
    first = _end_slope(step[0], step[1], secant[0], secant[1])
    last = _end_slope(step[-1], step[-2], secant[-1], secant[-2])
    return np.concatenate(([first], inner, [last]))


def _end_slope(step: float, next_step: float, secant: float, next_secant: float) -> float:
    slope = ((2 * step + next_step) * secant - step * next_secant) / (step + next_step)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope


def _by_rate(curve: Curve, higher_is_better: bool) -> tuple[Floats, Floats]:
    """(log rate, metric with its sign turned so that more is better), by rate, rates distinct."""
    points = np.asarray(sorted(curve), np.float64).reshape(-1, 2)
    if not np.isfinite(points).all() or not (points[:, 0] > 0).all():
        raise UserError("a rate-distortion curve takes finite values and positive rates")
    best: dict[float, float] = {}
    for rate, metric in points:
        value = metric if higher_is_better else -metric
        best[rate] = max(value, best.get(rate, -math.inf))
    return np.log(np.array(list(best))), np.array(list(best.values()))


def _monotone(curve: Curve, higher_is_better: bool) -> tuple[Floats, Floats]:
    """The points that no cheaper one equals or beats: rate and metric both rise."""
    rates, metric = _by_rate(curve, higher_is_better)
    if len(rates) == 0:
        return rates, metric
    running = np.maximum.accumulate(metric)
    keep = np.concatenate(([True], metric[1:] > running[:-1]))
    return rates[keep], metric[keep]
