from fractions import Fraction
from types import ModuleType

import numpy as np
import pytest
import torch

from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.codec.passes import decode_indices, encode_indices, index_bits
from ldm_ae.codec.priors.file import load_prior, save_prior
from ldm_ae.codec.priors.index import TOTAL, ContextIndexPrior, frequencies, powers

NUM_CODES = 64
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 3), (17, 23)]


def codebook() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_CODES, 3)).astype(np.float32)


def field(height: int, width: int, seed: int) -> np.ndarray:
    """Nearest codes of smooth noise of unit variance: a codebook in full use."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height + 2, width + 2, 3))
    smooth = sum(noise[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 3
    distances = np.square(smooth[:, :, None] - codebook()).sum(axis=-1)
    return distances.argmin(axis=-1).astype(np.int64)


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    return [field(24, 24, seed) for seed in range(12)]


@pytest.fixture(scope="module")
def prior(samples: list[np.ndarray]) -> ContextIndexPrior:
    found = fit_prior(samples, "context", codes=codebook(), steps=30)
    assert isinstance(found, ContextIndexPrior)
    return found


def test_context_saves_bits(prior: ContextIndexPrior, samples: list[np.ndarray]) -> None:
    zero_order = fit_prior(samples, "factorised", codes=codebook())
    indices = field(40, 40, 99)
    assert index_bits(indices, prior) < 0.9 * index_bits(indices, zero_order)
    assert index_bits(indices, prior) < 0.9 * 6 * indices.size


@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip(prior: ContextIndexPrior, shape: tuple[int, int]) -> None:
    indices = field(*shape, 99)
    payload = encode_indices(indices, prior)
    assert (decode_indices(payload, prior, shape) == indices).all()
    assert len(payload) * 8 <= index_bits(indices, prior) * 1.01 + 64


def test_any_indices_round_trip(prior: ContextIndexPrior) -> None:
    indices = np.random.default_rng(0).integers(0, NUM_CODES, (9, 8))
    payload = encode_indices(indices, prior)
    assert (decode_indices(payload, prior, (9, 8)) == indices).all()


def test_counts_are_those_of_the_format(
    prior: ContextIndexPrior, context_reference: ModuleType
) -> None:
    ref, arrays, indices = context_reference, prior.to_arrays(), field(9, 6, 99)
    values, known = np.zeros_like(indices), np.zeros(indices.shape, dtype=bool)
    planes = np.zeros((3, 9, 6), dtype=np.int64)
    for index, (stride, corner, positions) in enumerate(ref.passes(9, 6)):
        found = prior.predict(values, known, index)
        net, told = ref.Network(arrays, corner), ref.told(stride, corner, 0)
        if corner:
            counts = [
                net.counts(ref.seen(planes, stride, corner, y, x), told, arrays["codes"])
                for y, x in positions
            ]
            assert (np.concatenate(list(found)) == np.array(counts)).all()
        else:
            assert (found == 0).all()
        for y, x in positions:
            values[y, x], known[y, x] = indices[y, x], True
            planes[:, y, x] = arrays["vectors"][indices[y, x]]
    assert known.all()


def test_frequencies_do_not_depend_on_threads(prior: ContextIndexPrior) -> None:
    indices = field(33, 40, 99)
    before = torch.get_num_threads()
    payload = encode_indices(indices, prior)
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        assert encode_indices(indices, prior) == payload
    finally:
        torch.set_num_threads(before)


def test_frequencies_are_positive_and_sum_to_a_power_of_two() -> None:
    rng = np.random.default_rng(0)
    logs = rng.integers(-20_000, 20_000, (6, 16_384))
    logs[0] = 5
    logs[1] = np.arange(16_384) == 3
    logs[2] = (np.arange(16_384) == 3) * 60_000
    found = frequencies(logs)
    assert found.min() >= 1 and (found.sum(axis=1) == TOTAL).all()
    assert found[2, 3] == TOTAL - 16_383 - (found[2] - 1)[np.arange(16_384) != 3].sum()


def test_frequencies_follow_the_logarithms() -> None:
    found = frequencies(np.array([[0, -256, -128, -1024]]))[0] / TOTAL
    expected = np.array([1, 0.5, 0.5**0.5, 1 / 16])
    assert found == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_powers_are_floors() -> None:
    for index in (0, 1, 100, 255, 256, 1000, 5119):
        power = Fraction(2) ** (20 * 256 - index)
        value = int(powers()[index])
        assert Fraction(value) ** 256 <= power < Fraction(value + 1) ** 256


def test_file_round_trip(prior: ContextIndexPrior, tmp_path) -> None:
    save_prior(prior, tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, ContextIndexPrior)
    indices = field(9, 14, 99)
    assert encode_indices(indices, again) == encode_indices(indices, prior)


@pytest.mark.parametrize("name", ["net0.first", "codes", "vectors", "tables.counts"])
def test_damaged_arrays_are_refused(prior: ContextIndexPrior, name: str) -> None:
    arrays = prior.to_arrays()
    with pytest.raises(ValueError, match="prior|tables"):
        ContextIndexPrior.from_arrays({key: a for key, a in arrays.items() if key != name})
    with pytest.raises(ValueError, match="prior|tables"):
        ContextIndexPrior.from_arrays(arrays | {name: arrays[name][:-1]})


def test_codes_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="all the same"):
        fit_prior([field(8, 8, 0)], "context", codes=np.ones((NUM_CODES, 3)), steps=1)
