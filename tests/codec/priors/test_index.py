from types import ModuleType

import numpy as np
import pytest
import torch

from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.codec.passes import cross_entropy, decode, encode, walk
from ldm_ae.codec.priors.base import Place
from ldm_ae.codec.priors.distributions import Alike, Apart
from ldm_ae.codec.priors.file import load_prior, save_prior
from ldm_ae.codec.priors.index import ContextIndexPrior
from ldm_ae.threads import using_threads

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
    assert cross_entropy(prior, indices, 0) < 0.9 * cross_entropy(zero_order, indices, 0)
    assert cross_entropy(prior, indices, 0) < 0.9 * 6 * indices.size


@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip(prior: ContextIndexPrior, shape: tuple[int, int]) -> None:
    indices = field(*shape, 99)
    payload = encode(prior, indices, 0)[1]
    assert (decode(prior, payload, shape, 0) == indices).all()
    assert len(payload) * 8 <= cross_entropy(prior, indices, 0) * 1.01 + 64


def test_any_indices_round_trip(prior: ContextIndexPrior) -> None:
    indices = np.random.default_rng(0).integers(0, NUM_CODES, (9, 8))
    payload = encode(prior, indices, 0)[1]
    assert (decode(prior, payload, (9, 8), 0) == indices).all()


def test_counts_are_those_of_the_format(
    prior: ContextIndexPrior, context_reference: ModuleType
) -> None:
    ref, arrays, indices = context_reference, prior.to_arrays(), field(9, 6, 99)
    planes = np.zeros((3, 9, 6), dtype=np.int64)
    passes = iter(ref.passes(9, 6))

    def code(place: Place, distribution: Alike | Apart) -> np.ndarray:
        stride, corner, positions = next(passes)
        net, told = ref.Network(arrays, corner), ref.told(stride, corner, 0)
        if corner:
            assert isinstance(distribution, Apart)
            counts = [
                net.counts(ref.seen(planes, stride, corner, y, x), told, arrays["codes"])
                for y, x in positions
            ]
            assert (np.concatenate(list(distribution.parts)) == np.array(counts)).all()
        else:
            assert distribution == Alike(prior.tables, len(positions))
        for y, x in positions:
            planes[:, y, x] = arrays["vectors"][indices[y, x]]
        return indices[place]

    assert (walk(prior, indices.shape, 0, code) == indices).all()
    assert next(passes, None) is None


def test_frequencies_do_not_depend_on_threads(prior: ContextIndexPrior) -> None:
    indices = field(33, 40, 99)
    payload = encode(prior, indices, 0)[1]
    with using_threads(2 if torch.get_num_threads() == 1 else 1):
        assert encode(prior, indices, 0)[1] == payload


def test_file_round_trip(prior: ContextIndexPrior, tmp_path) -> None:
    save_prior(prior, tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, ContextIndexPrior)
    indices = field(9, 14, 99)
    assert encode(again, indices, 0)[1] == encode(prior, indices, 0)[1]


@pytest.mark.parametrize("name", ["net0.first", "codes", "vectors", "tables.counts"])
def test_damaged_arrays_are_refused(prior: ContextIndexPrior, name: str) -> None:
    arrays = prior.to_arrays()
    with pytest.raises(ValueError, match="prior|tables"):
        ContextIndexPrior.from_arrays({key: a for key, a in arrays.items() if key != name})
    with pytest.raises(ValueError, match="prior|tables"):
        ContextIndexPrior.from_arrays(arrays | {name: arrays[name][:-1]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": (NUM_CODES, 300)}, "vectors has 300 units"),
        ({"codes": (NUM_CODES, 300)}, "codes has 300 units"),
        ({"net0.second": (48, 300)}, "net0.first has 300 units"),
    ],
)
def test_wide_layers_are_refused(prior: ContextIndexPrior, changes: dict, message: str) -> None:
    wide = {name: np.zeros(shape, dtype=np.int16) for name, shape in changes.items()}
    with pytest.raises(ValueError, match=message):
        ContextIndexPrior.from_arrays(prior.to_arrays() | wide)


def test_codes_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="all the same"):
        fit_prior([field(8, 8, 0)], "context", codes=np.ones((NUM_CODES, 3)), steps=1)
