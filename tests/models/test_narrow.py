"""A narrower network that starts with some of a wider one's channels."""

import torch

from ldm_ae.models.narrow import narrowed


def test_the_first_channels_of_each_group_are_taken() -> None:
    wide = {"conv.weight": torch.arange(8.0)[:, None, None, None].expand(8, 3, 1, 1)}
    fresh = {"conv.weight": torch.zeros(4, 3, 1, 1)}
    found = narrowed(wide, fresh, groups=2)["conv.weight"]
    assert found[:, 0, 0, 0].tolist() == [0, 1, 4, 5]


def test_inputs_are_taken_as_outputs_are() -> None:
    wide = {"linear.weight": torch.arange(8.0).expand(3, 8), "norm.bias": torch.arange(8.0)}
    fresh = {"linear.weight": torch.zeros(3, 4), "norm.bias": torch.zeros(4)}
    found = narrowed(wide, fresh, groups=4)
    assert found["linear.weight"][0].tolist() == found["norm.bias"].tolist() == [0, 2, 4, 6]


def test_what_has_no_fitting_namesake_stays() -> None:
    fresh = {"new": torch.ones(2), "wider": torch.ones(8), "kernel": torch.ones(2, 2, 3, 3)}
    wide = {"wider": torch.zeros(4), "kernel": torch.zeros(4, 4, 1, 1), "unused": torch.zeros(2)}
    found = narrowed(wide, fresh, groups=2)
    assert found.keys() == fresh.keys()
    assert all(torch.equal(found[name], fresh[name]) for name in fresh)


def test_the_same_width_is_the_same_network() -> None:
    wide = {"conv.weight": torch.randn(4, 4, 3, 3), "norm.weight": torch.randn(4)}
    found = narrowed(wide, {name: torch.zeros_like(value) for name, value in wide.items()}, 2)
    assert all(torch.equal(found[name], wide[name]) for name in wide)
