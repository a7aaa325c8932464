import dataclasses

import numpy as np
import pytest

from ldm_ae.codec.fitting.counts import fit_factorised, fit_index_counts
from ldm_ae.codec.passes import cross_entropy, encode
from ldm_ae.codec.priors.counts import FactorisedPrior, IndexCounts

SCALES = np.array([1.0, 2.0, 0.3])[:, None, None]
CENTRES = np.array([0.0, -4.0, 10.0])[:, None, None]


def latents(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.laplace(size=(3, height, width)) * SCALES + CENTRES).astype(np.float32)


def nearest(values: np.ndarray, prior: FactorisedPrior, quality: int) -> np.ndarray:
    return np.rint(prior.scale.in_steps(values, quality)).astype(np.int64)


@pytest.fixture(scope="module")
def prior() -> FactorisedPrior:
    return fit_factorised([latents(32, 32, seed) for seed in range(8)])


def test_scale_is_that_of_the_latents(prior: FactorisedPrior) -> None:
    deviation = np.sqrt(2 * (SCALES**2).mean())
    assert prior.scale.unit * 256 == pytest.approx(deviation, rel=0.05)
    assert prior.scale.centre == pytest.approx(CENTRES.ravel(), abs=0.1)


@pytest.mark.parametrize("quality", [0, 20, 46, 63])
def test_payload_is_the_cross_entropy(prior: FactorisedPrior, quality: int) -> None:
    symbols = nearest(latents(160, 160, 99), prior, quality)
    found, payload = encode(prior, symbols, quality)
    assert (found == symbols).all()
    assert len(payload) * 8 <= cross_entropy(prior, symbols, quality) * 1.002 + 64


@pytest.mark.parametrize("quality", [20, 46, 63])
def test_tables_are_near_the_entropy(prior: FactorisedPrior, quality: int) -> None:
    """Against the empirical entropy of the very symbols, which no table can beat by much."""
    symbols = nearest(latents(160, 160, 99), prior, quality)
    least = 0.0
    for channel in symbols:
        _, counts = np.unique(channel, return_counts=True)
        least -= (counts * np.log2(counts / counts.sum())).sum()
    assert cross_entropy(prior, symbols, quality) <= least * 1.02


def test_index_counts_follow_the_indices() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(500, 0.5))
    prior = fit_index_counts([rng.choice(500, (64, 64), p=shares) for _ in range(8)], 500)
    fresh = rng.choice(500, (200, 200), p=shares)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() * fresh.size
    bits = cross_entropy(prior, fresh, 0)
    assert bits <= entropy * 1.02 and bits < fresh.size * 9 * 0.95
    assert len(encode(prior, fresh, 0)[1]) * 8 <= bits * 1.002 + 64


def test_a_code_that_never_came_can_be_coded() -> None:
    prior = fit_index_counts([np.zeros((100, 100), dtype=np.int64)], 70_000)
    assert prior.tables.row(0).min() >= 1 and prior.of == "indices of 70000 codes"
    assert cross_entropy(prior, np.array([[69_999]]), 0) < 24


def test_constant_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="unit=0"):
        fit_factorised([np.ones((2, 8, 8))])


def test_one_constant_channel_costs_nothing() -> None:
    values = latents(32, 32)
    values[1] = 3
    prior = fit_factorised([values])
    symbols = nearest(values, prior, 40)
    assert not symbols[1].any()
    only = np.zeros_like(symbols)
    assert cross_entropy(prior, only, 0) < 1024 * 3 * 0.05


def test_arrays_come_back_and_broken_ones_do_not(prior: FactorisedPrior) -> None:
    arrays = prior.to_arrays()
    again = FactorisedPrior.from_arrays(arrays)
    assert (
        again.scale.unit == prior.scale.unit and (again.tables.counts == prior.tables.counts).all()
    )
    broken = [
        {name: value for name, value in arrays.items() if name != "unit"},
        {**arrays, "unit": np.array([0.0])},
        {**arrays, "unit": np.array([np.nan])},
        {**arrays, "unit": arrays["unit"].astype(np.float32)},
        {**arrays, "centre": arrays["centre"][:2]},
        {**arrays, "centre": np.array([0.0, np.inf, 1.0])},
        {**arrays, "tables.counts": arrays["tables.counts"][:-1]},
        {**arrays, "tables.counts": -arrays["tables.counts"]},
        {**arrays, "tables.counts": arrays["tables.counts"].astype(np.float32)},
        {**arrays, "tables.widths": arrays["tables.widths"][None]},
        {**arrays, "tables.widths": np.array([], dtype=np.int32)},
    ]
    for item in broken:
        with pytest.raises(ValueError, match=r"prior|frequency tables"):
            FactorisedPrior.from_arrays(item)
    counts = fit_index_counts([np.zeros((4, 4), dtype=np.int64)], 8)
    assert IndexCounts.from_arrays(counts.to_arrays()).of == "indices of 8 codes"
    with pytest.raises(ValueError, match="expected one of all codes"):
        dataclasses.replace(counts, tables=prior.tables)
