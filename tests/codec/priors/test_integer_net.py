import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldm_ae.codec.priors.integer_net import (
    ACTIVATION_ONE,
    INTEGER,
    LIMIT,
    WEIGHT_ONE,
    columns,
    from_integers,
    to_integers,
)


def extreme(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Integers up to the limits, most of them near one: the largest sums there are."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.9, LIMIT, rng.integers(-LIMIT, LIMIT, shape))


def test_float64_sums_are_those_of_integers() -> None:
    weight, seen = extreme((10, 1200), 0), extreme((1200, 20), 1)
    exact = weight.astype(object) @ seen.astype(object)
    found = torch.from_numpy(weight).double() @ torch.from_numpy(seen).double()
    assert (found.numpy().astype(np.int64) == exact).all()
    order = torch.randperm(1200)
    permuted = torch.from_numpy(weight)[:, order].double() @ torch.from_numpy(seen)[order].double()
    assert torch.equal(permuted, found)


def test_rescaling_rounds_integers_to_nearest() -> None:
    sums = np.concatenate([np.arange(-9000, 9000), np.arange(2**49, 2**49 + 9000)])
    found = INTEGER.rescale(torch.from_numpy(sums).double()).numpy().astype(np.int64)
    assert (found == (2 * sums + WEIGHT_ONE) // (2 * WEIGHT_ONE)).all()


def test_activations_are_bounded() -> None:
    sums = torch.tensor([2.0**50, -(2.0**50)], dtype=torch.float64)
    assert INTEGER.clip(sums).tolist() == [LIMIT, -LIMIT]
    assert INTEGER.rectify(sums).tolist() == [LIMIT, 0]


def test_columns_are_neighbourhoods() -> None:
    planes = torch.arange(2 * 4 * 5).double().view(2, 4, 5) + 1
    found = columns(F.pad(planes, (1, 1, 1, 1))).view(2, 3, 3, 4, 5)
    assert torch.equal(found[:, 1, 1], planes)
    assert torch.equal(found[1, 0, 2, 1:, :-1], planes[1, :-1, 1:])
    assert (found[:, 0, :, 0] == 0).all()


def test_weights_survive_the_file() -> None:
    weight = torch.randn(3, 4)
    stored = to_integers(weight)
    assert from_integers("w", stored).div(WEIGHT_ONE).sub(weight).abs().max() <= 0.5 / WEIGHT_ONE
    assert to_integers(torch.tensor([1e9, -1e9])).tolist() == [LIMIT, -LIMIT]
    assert ACTIVATION_ONE == 256


@pytest.mark.parametrize(
    "weight", [np.zeros((2, 2), dtype=np.int32), np.full((2, 2), -(2**15), dtype=np.int16)]
)
def test_weights_that_might_not_be_exact_are_refused(weight: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected int16"):
        from_integers("first", weight)
