import dataclasses
import math
from types import ModuleType

import numpy as np
import pytest
import torch

from ldm_ae.codec.fitting.context import compare, train
from ldm_ae.codec.fitting.counts import fit_factorised
from ldm_ae.codec.fitting.examples import collect
from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.codec.format.ladder import MAX_VALUE, quantise
from ldm_ae.codec.passes import decode_latents, encode_latents, latent_bits
from ldm_ae.codec.priors import context_passes
from ldm_ae.codec.priors.base import Place
from ldm_ae.codec.priors.context import ContextPrior, to_rows
from ldm_ae.codec.priors.context_passes import all_passes
from ldm_ae.codec.priors.file import load_prior, save_prior
from ldm_ae.codec.priors.integer_net import from_integers, to_integers

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 3), (17, 23)]


def field(height: int, width: int, seed: int) -> np.ndarray:
    """Three smooth channels, of which the second follows the first and the third is dull."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, height + 4, width + 4))
    smooth = sum(noise[:, y : y + height, x : x + width] for y in range(5) for x in range(5)) / 5
    first, second, third = smooth
    mixed = np.stack([3 * first + 1, first + 0.5 * second, 0.1 * third])
    return (mixed + 0.05 * rng.normal(size=mixed.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    return [field(24, 32, seed) for seed in range(12)]


@pytest.fixture(scope="module")
def prior(samples: list[np.ndarray]) -> ContextPrior:
    found = fit_prior(samples, "context", steps=40)
    assert isinstance(found, ContextPrior)
    return found


def octaves(size: int) -> int:
    return math.floor(256 * math.log2(size / 256) + 1e-9)


def symbols(prior: ContextPrior, shape: tuple[int, int], quality: int, seed: int = 99):
    return quantise(field(*shape, seed), prior.centre, prior.unit, quality)


@pytest.mark.parametrize("quality", [24, 46, 60])
def test_context_saves_bits(prior: ContextPrior, samples: list[np.ndarray], quality: int) -> None:
    factorised = fit_factorised(samples)
    found = symbols(prior, (48, 48), quality)
    assert latent_bits(found, prior, quality) < 0.8 * latent_bits(found, factorised, quality)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quality", [0, 30, 63])
def test_round_trip(prior: ContextPrior, shape: tuple[int, int], quality: int) -> None:
    found = symbols(prior, shape, quality)
    payload = encode_latents(found, prior, quality)
    assert (decode_latents(payload, prior, (3, *shape), quality) == found).all()
    assert len(payload) * 8 <= latent_bits(found, prior, quality) * 1.01 + 64


def test_extreme_values_round_trip(prior: ContextPrior) -> None:
    rng = np.random.default_rng(0)
    found = rng.choice([-(MAX_VALUE // 8), 0, MAX_VALUE // 8], (3, 6, 7))
    payload = encode_latents(found, prior, 63)
    assert (decode_latents(payload, prior, (3, 6, 7), 63) == found).all()


def all_rows(prior: ContextPrior, found: np.ndarray, size: int, quality: int) -> list[np.ndarray]:
    values, known, parts = np.zeros_like(found), np.zeros(found.shape, dtype=bool), []
    for index, place in enumerate(prior.places(found.shape, quality)):
        parts += prior.predict(values, known, index, quality)
        values[place] = found[place] * size
        known[place] = True
    return parts


def test_rows_do_not_depend_on_threads_or_on_what_was_asked_before(prior: ContextPrior) -> None:
    found = symbols(prior, (33, 40), 46)
    fresh = ContextPrior.from_arrays(prior.to_arrays())
    before, expected = torch.get_num_threads(), all_rows(prior, found, 36, 46)
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        again = all_rows(fresh, found, 36, 46)
    finally:
        torch.set_num_threads(before)
    assert all((a == b).all() for a, b in zip(expected, again, strict=True))
    all_rows(prior, symbols(prior, (9, 9), 46, seed=1), 36, 46)
    assert all(
        (a == b).all() for a, b in zip(expected, all_rows(prior, found, 36, 46), strict=True)
    )


@pytest.mark.parametrize(("quality", "size"), [(3, 1573), (24, 248), (46, 36), (63, 8)])
def test_rows_are_those_of_the_format(
    prior: ContextPrior, context_reference: ModuleType, quality: int, size: int
) -> None:
    """Against plain integers that never pass through a float; odd sizes, some values extreme."""
    ref, found = context_reference, symbols(prior, (9, 6), quality)
    found[:, 3:5, 2] = [[MAX_VALUE // size], [-(MAX_VALUE // size)], [0]]
    expected, values = [], np.zeros_like(found)
    for stride, corner, positions in ref.passes(9, 6):
        net, told = ref.Network(prior.to_arrays(), corner), ref.told(stride, corner, octaves(size))
        around = [ref.seen(values, stride, corner, y, x) for y, x in positions]
        for channel in range(3):
            here = [[int(part) for part in values[:, y, x]] for y, x in positions]
            pairs = [
                net.row(v, told, w, channel, size, octaves(size))
                for v, w in zip(around, here, strict=True)
            ]
            expected += [np.array(part) for part in zip(*pairs, strict=True)]
            for y, x in positions:
                values[channel, y, x] = found[channel, y, x] * size
    rows = all_rows(prior, found, size, quality)
    assert all((a == b).all() for a, b in zip(rows, expected, strict=True))


def test_grids_of_equal_cells_but_other_sizes_are_told_apart(prior: ContextPrior) -> None:
    """5x6 and 6x5 fill the same padded cells; what one left behind must not serve the other."""
    last = {shape: len(prior.places((3, *shape), 40)) - 1 for shape in ((5, 6), (6, 5))}
    wanted = {}
    for shape, index in last.items():
        alone = ContextPrior.from_arrays(prior.to_arrays())
        wanted[shape] = predict_flat(alone, shape, index)
    for shape, index in (*last.items(), *last.items()):
        assert (predict_flat(prior, shape, index) == wanted[shape]).all()


def predict_flat(prior: ContextPrior, shape: tuple[int, int], index: int) -> np.ndarray:
    values = np.zeros((3, *shape), dtype=np.int64)
    return np.stack(prior.predict(values, values == 0, index, 40))


def test_large_grids_are_seen_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(2, 17, 23)
    for each in all_passes(17, 23)[1:]:
        cells, size = each.cells(values, 1.0), each.size(17, 23)
        whole = each.seen(cells, size)
        monkeypatch.setattr(context_passes, "_MAX_NUMBERS", 9 * len(cells) * cells.shape[2] * 2)
        pieces = list(each.pieces(cells, size))
        monkeypatch.undo()
        assert len(pieces) == -(-size[0] // 2)
        assert torch.equal(torch.cat(pieces, dim=1), whole)


def holds(place: Place, shape: tuple[int, ...], position: tuple[int, ...]) -> bool:
    return all(
        index in range(size)[part] for part, size, index in zip(place, shape, position, strict=True)
    )


def test_places_are_disjoint_and_together_everything(prior: ContextPrior) -> None:
    for shape in SHAPES:
        counts = np.zeros((3, *shape), dtype=int)
        for place in prior.places(counts.shape, 40):
            counts[place] += 1
        assert (counts == 1).all()


def test_a_channel_sees_only_channels_before_it(prior: ContextPrior) -> None:
    values, known = np.zeros((3, 8, 8), dtype=np.int64), np.ones((3, 8, 8), dtype=bool)
    middle = next(
        index
        for index, place in enumerate(prior.places(values.shape, 40))
        if holds(place, values.shape, (1, 7, 7))
    )
    base = np.stack(prior.predict(values, known, middle, 40))
    values[1:, 7, 7] = 900
    assert (np.stack(prior.predict(values, known, middle, 40)) == base).all()
    values[0, 7, 7] = 900
    assert (np.stack(prior.predict(values, known, middle, 40)) != base).any()


def test_integers_cost_hardly_more_than_floats(samples: list[np.ndarray]) -> None:
    generator = torch.Generator().manual_seed(0)
    grids = [torch.from_numpy(item) for item in samples]
    examples = collect(grids, grids, generator)
    nets = train(examples, 20, generator)
    frozen = [{n: from_integers(n, to_integers(w)) for n, w in net.items()} for net in nets]
    prior = dataclasses.replace(fit_prior(samples, "context", steps=0), weights=frozen)
    for quality in (30, 46, 60):
        floats, integers = compare(prior, nets, examples, quality, generator)
        assert integers < 1.005 * floats + 0.01


def test_rows_and_offsets() -> None:
    """The symbol nearest to the mean is the offset; the row says where the mean lies off it."""
    mean, scale = np.array([0, 50, -51, 149]), np.zeros(4, dtype=np.int64)
    rows, offsets = to_rows(mean, scale, 100)
    assert offsets.tolist() == [0, 1, -1, 1]
    assert (rows % 8).tolist() == [4, 0, 7, 7]
    widest, _ = to_rows(np.zeros(1, dtype=np.int64), np.array([2**15]), 8)
    narrowest, _ = to_rows(np.zeros(1, dtype=np.int64), np.array([-(2**15)]), 2048)
    assert widest // 8 == 40 and narrowest // 8 == 0


def test_file_round_trip(prior: ContextPrior, tmp_path) -> None:
    save_prior(prior, tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, ContextPrior)
    found = symbols(prior, (17, 23), 46)
    assert encode_latents(found, again, 46) == encode_latents(found, prior, 46)


@pytest.mark.parametrize("name", ["net0.first", "net2.out", "tables.counts", "unit", "centre"])
def test_damaged_arrays_are_refused(prior: ContextPrior, name: str) -> None:
    arrays = prior.to_arrays()
    with pytest.raises(ValueError, match="prior|tables"):
        ContextPrior.from_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(ValueError, match="prior|tables"):
        ContextPrior.from_arrays(arrays | {name: arrays[name][..., :-1]})


def test_latents_without_variation_are_refused() -> None:
    with pytest.raises(ValueError, match="unit"):
        fit_prior([np.ones((2, 8, 8), dtype=np.float32)], "context", steps=1)


def test_many_channels_go_in_groups() -> None:
    """Ten channels in eight groups, each the same but for a little noise."""
    rng = np.random.default_rng(0)
    shared = [rng.normal(size=(1, 16, 16)) for _ in range(7)]
    latents = [(one + 0.1 * rng.normal(size=(10, 16, 16))).astype(np.float32) for one in shared]
    prior = fit_prior(latents[:-1], "context", steps=10)
    last = [channels for channels, *_ in prior.places((10, 16, 16), 46)[-8:]]
    assert sorted(len(range(10)[channels]) for channels in last) == [1] * 6 + [2] * 2
    found = quantise(latents[-1], prior.centre, prior.unit, 46)
    payload = encode_latents(found, prior, 46)
    assert (decode_latents(payload, prior, (10, 16, 16), 46) == found).all()
    factorised = fit_factorised(latents[:-1])
    assert latent_bits(found, prior, 46) < 0.7 * latent_bits(found, factorised, 46)


def test_a_single_position_can_be_fitted() -> None:
    rng = np.random.default_rng(0)
    ones = [rng.normal(size=(2, 1, 1)).astype(np.float32) for _ in range(50)]
    prior = fit_prior(ones, "context", steps=2)
    found = quantise(ones[0], prior.centre, prior.unit, 40)
    payload = encode_latents(found, prior, 40)
    assert (decode_latents(payload, prior, (2, 1, 1), 40) == found).all()
    assert len(all_passes(1, 1)) == 1


def test_fitting_works_in_inference_mode(samples: list[np.ndarray]) -> None:
    with torch.inference_mode():
        assert fit_prior(samples[:2], "context", steps=2).name == "context"
