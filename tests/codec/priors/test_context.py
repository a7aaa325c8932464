import math
from types import ModuleType

import numpy as np
import pytest
import torch

from ldm_ae.codec.fitting.counts import fit_factorised
from ldm_ae.codec.fitting.fit import fit_prior
from ldm_ae.codec.format.ladder import MAX_VALUE
from ldm_ae.codec.passes import cross_entropy, decode, encode, walk
from ldm_ae.codec.priors import refinement
from ldm_ae.codec.priors.base import Place
from ldm_ae.codec.priors.context import ContextPrior, to_rows
from ldm_ae.codec.priors.distributions import Signed
from ldm_ae.codec.priors.file import load_prior, save_prior
from ldm_ae.codec.priors.refinement import all_passes
from ldm_ae.threads import using_threads

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 3), (17, 23)]


@pytest.fixture(scope="module")
def prior(samples: list[np.ndarray]) -> ContextPrior:
    found = fit_prior(samples, "context", steps=40)
    assert isinstance(found, ContextPrior)
    return found


def nearest(latents: np.ndarray, prior: ContextPrior, quality: int) -> np.ndarray:
    return np.rint(prior.scale.in_steps(latents, quality)).astype(np.int64)


def octaves(size: int) -> int:
    return math.floor(256 * math.log2(size / 256) + 1e-9)


@pytest.fixture(scope="module")
def symbols(field):
    """symbols(prior, shape, quality), of a field that no prior was fitted to"""

    def of(prior: ContextPrior, shape: tuple[int, int], quality: int, seed: int = 99) -> np.ndarray:
        return nearest(field(*shape, seed), prior, quality)

    return of


@pytest.mark.parametrize("quality", [24, 46, 60])
def test_context_saves_bits(
    symbols, prior: ContextPrior, samples: list[np.ndarray], quality: int
) -> None:
    factorised = fit_factorised(samples)
    found = symbols(prior, (48, 48), quality)
    assert cross_entropy(prior, found, quality) < 0.8 * cross_entropy(factorised, found, quality)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("quality", [0, 30, 63])
def test_round_trip(symbols, prior: ContextPrior, shape: tuple[int, int], quality: int) -> None:
    found = symbols(prior, shape, quality)
    payload = encode(prior, found, quality)[1]
    assert (decode(prior, payload, (3, *shape), quality) == found).all()
    assert len(payload) * 8 <= cross_entropy(prior, found, quality) * 1.01 + 64


def test_extreme_values_round_trip(prior: ContextPrior) -> None:
    rng = np.random.default_rng(0)
    found = rng.choice([-(MAX_VALUE // 8), 0, MAX_VALUE // 8], (3, 6, 7))
    payload = encode(prior, found, 63)[1]
    assert (decode(prior, payload, (3, 6, 7), 63) == found).all()


def all_rows(prior: ContextPrior, found: np.ndarray, quality: int) -> list[np.ndarray]:
    """Rows and offsets of each pass."""
    parts: list[np.ndarray] = []

    def code(place: Place, distribution: Signed) -> np.ndarray:
        parts.extend([distribution.rows, distribution.offsets])
        return found[place]

    walk(prior, found.shape, quality, code)
    return parts


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all((a == b).all() for a, b in zip(one, other, strict=True))


def test_rows_do_not_depend_on_threads(symbols, prior: ContextPrior) -> None:
    found = symbols(prior, (33, 40), 46)
    expected = all_rows(prior, found, 46)
    with using_threads(2 if torch.get_num_threads() == 1 else 1):
        assert equal(all_rows(prior, found, 46), expected)


def test_walks_side_by_side_do_not_disturb_each_other(symbols, prior: ContextPrior) -> None:
    """5x6 and 6x5 fill the same padded cells."""
    wanted = {(5, 6): symbols(prior, (5, 6), 40), (6, 5): symbols(prior, (6, 5), 46, seed=1)}
    alone = {shape: all_rows(prior, found, 40) for shape, found in wanted.items()}
    both = {shape: np.zeros_like(found) for shape, found in wanted.items()}
    rows: dict[tuple[int, int], list[np.ndarray]] = {shape: [] for shape in wanted}
    steps = zip(*(prior.passes(found, 40) for found in both.values()), strict=True)
    for step in steps:
        for shape, (place, distribution) in zip(wanted, step, strict=True):
            rows[shape] += [distribution.rows, distribution.offsets]
            both[shape][place] = wanted[shape][place]
    assert all(equal(rows[shape], alone[shape]) for shape in wanted)


@pytest.mark.parametrize(("quality", "size"), [(3, 1573), (24, 248), (46, 36), (63, 8)])
def test_rows_are_those_of_the_format(
    symbols, prior: ContextPrior, context_reference: ModuleType, quality: int, size: int
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
    assert equal(all_rows(prior, found, quality), expected)


def test_large_grids_are_seen_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(2, 17, 23)
    for each in all_passes(17, 23)[1:]:
        grid = values[:, *each.grid]
        (whole,) = each.seen(grid, 1.0)
        cells = -(-grid.shape[2] // 2)
        monkeypatch.setattr(refinement, "_MAX_NUMBERS", len(whole) * cells * 2)
        pieces = list(each.seen(grid, 1.0))
        monkeypatch.undo()
        assert len(pieces) == -(-each.size(17, 23)[0] // 2)
        assert torch.equal(torch.cat(pieces, dim=1), whole)


def test_places_are_disjoint_and_together_everything(prior: ContextPrior) -> None:
    for shape in SHAPES:
        counts = np.zeros((3, *shape), dtype=int)
        for place, _ in prior.passes(np.zeros_like(counts), 40):
            counts[place] += 1
        assert (counts == 1).all()


def test_what_is_not_known_does_not_show(symbols, prior: ContextPrior) -> None:
    """Neither a later pass' symbols nor, at the same place, those of later channels."""
    found, parts = symbols(prior, (9, 12), 40), []
    filled = np.full_like(found, 99)
    for place, distribution in prior.passes(filled, 40):
        parts += [distribution.rows, distribution.offsets]
        filled[place] = found[place]
    assert equal(parts, all_rows(prior, found, 40))
    other = found.copy()
    other[0, 1::2, ::2] += 9  # the last pass' first channel
    rows = [all_rows(prior, each, 40) for each in (found, other)]
    # Rows and offsets of the last pass' three channels: only what follows the first can change.
    assert equal(rows[0][:-4], rows[1][:-4])
    assert not equal(rows[0][-4:], rows[1][-4:])


def test_rows_and_offsets() -> None:
    """The symbol nearest to the mean is the offset; the row says where the mean lies off it."""
    mean, scale = np.array([0, 50, -51, 149]), np.zeros(4, dtype=np.int64)
    rows, offsets = to_rows(mean, scale, 100)
    assert offsets.tolist() == [0, 1, -1, 1]
    assert (rows % 8).tolist() == [4, 0, 7, 7]
    widest, _ = to_rows(np.zeros(1, dtype=np.int64), np.array([2**15]), 8)
    narrowest, _ = to_rows(np.zeros(1, dtype=np.int64), np.array([-(2**15)]), 2048)
    assert widest // 8 == 40 and narrowest // 8 == 0


def test_file_round_trip(symbols, prior: ContextPrior, tmp_path) -> None:
    save_prior(prior, tmp_path)
    again = load_prior(tmp_path)
    assert isinstance(again, ContextPrior)
    found = symbols(prior, (17, 23), 46)
    assert encode(again, found, 46)[1] == encode(prior, found, 46)[1]


@pytest.mark.parametrize("name", ["net0.first", "net2.out", "tables.counts", "unit", "centre"])
def test_damaged_arrays_are_refused(prior: ContextPrior, name: str) -> None:
    arrays = prior.to_arrays()
    with pytest.raises(ValueError, match="prior|tables"):
        ContextPrior.from_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(ValueError, match="prior|tables"):
        ContextPrior.from_arrays(arrays | {name: arrays[name][..., :-1]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": (9, 300), "first": (300, 144)}, "net0.first has 300 units"),
        ({"second": (300, 80)}, "net0.second has 300 units"),
        ({"out": (6, 300)}, "net0.out has 300 units"),
    ],
)
def test_wide_layers_are_refused(prior: ContextPrior, changes: dict, message: str) -> None:
    """A small file must not ask a reader for any amount of work."""
    arrays = prior.to_arrays()
    for name, shape in changes.items():
        arrays |= {f"net{net}.{name}": np.zeros(shape, dtype=np.int16) for net in range(3)}
    with pytest.raises(ValueError, match=message):
        ContextPrior.from_arrays(arrays)
