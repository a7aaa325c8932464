import dataclasses

import numpy as np
import pytest
import torch

from ldm_ae.codec.fitting.context import compare, train
from ldm_ae.codec.fitting.counts import fit_factorised
from ldm_ae.codec.fitting.examples import collect
from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.codec.passes import cross_entropy, decode, encode
from ldm_ae.codec.priors.context import ContextPrior
from ldm_ae.codec.priors.integer_net import freeze
from ldm_ae.codec.priors.refinement import all_passes


def nearest(latents: np.ndarray, prior: ContextPrior, quality: int) -> np.ndarray:
    return np.rint(prior.scale.in_steps(latents, quality)).astype(np.int64)


def test_integers_cost_hardly_more_than_floats(samples: list[np.ndarray]) -> None:
    generator = torch.Generator().manual_seed(0)
    grids = [torch.from_numpy(item) for item in samples]
    examples = collect(grids, grids, generator)
    nets = train(examples, 20, generator)
    frozen = [freeze(net) for net in nets]
    prior = dataclasses.replace(fit_prior(samples, "context", steps=0), weights=frozen)
    for quality in (30, 46, 60):
        floats, integers = compare(prior, nets, examples, quality, generator)
        assert integers < 1.005 * floats + 0.01


def test_latents_without_variation_are_refused() -> None:
    with pytest.raises(ValueError, match="unit"):
        fit_prior([np.ones((2, 8, 8), dtype=np.float32)], "context", steps=1)


def test_many_channels_go_in_groups() -> None:
    """Ten channels in eight groups, each the same but for a little noise."""
    rng = np.random.default_rng(0)
    shared = [rng.normal(size=(1, 16, 16)) for _ in range(7)]
    latents = [(one + 0.1 * rng.normal(size=(10, 16, 16))).astype(np.float32) for one in shared]
    prior = fit_prior(latents[:-1], "context", steps=10)
    places = [place for place, _ in prior.passes(np.zeros((10, 16, 16), dtype=np.int64), 46)]
    last = [channels for channels, *_ in places[-8:]]
    assert sorted(len(range(10)[channels]) for channels in last) == [1] * 6 + [2] * 2
    found = nearest(latents[-1], prior, 46)
    payload = encode(prior, found, 46)[1]
    assert (decode(prior, payload, (10, 16, 16), 46) == found).all()
    factorised = fit_factorised(latents[:-1])
    assert cross_entropy(prior, found, 46) < 0.7 * cross_entropy(factorised, found, 46)


def test_a_single_position_can_be_fitted() -> None:
    rng = np.random.default_rng(0)
    ones = [rng.normal(size=(2, 1, 1)).astype(np.float32) for _ in range(50)]
    prior = fit_prior(ones, "context", steps=2)
    found = nearest(ones[0], prior, 40)
    payload = encode(prior, found, 40)[1]
    assert (decode(prior, payload, (2, 1, 1), 40) == found).all()
    assert len(all_passes(1, 1)) == 1


def test_fitting_works_in_inference_mode(samples: list[np.ndarray]) -> None:
    with torch.inference_mode():
        assert fit_prior(samples[:2], "context", steps=2).name == "context"
