"""The target of the denoiser, and where it starts."""

import pytest
import torch

from ldm_ae.diffusion.config import DenoiserConfig
from ldm_ae.diffusion.denoiser import EMPTY_CLASS, build_denoiser, denoising_loss
from ldm_ae.diffusion.latents import LatentBatch
from ldm_ae.errors import UserError

SMALL = DenoiserConfig(num_layers=1, num_heads=2, head_dim=8, patch_size=2)


class Oracle(torch.nn.Module):
    """Knows the latents, and says what was asked."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.x, self.asked = x, []

    def forward(self, noisy, timestep, class_labels):
        self.asked.append((timestep, class_labels))
        t = (timestep / 1000)[:, None, None, None]
        noise = (noisy - (1 - t) * self.x) / t
        return type("Output", (), {"sample": noise - self.x})


def batch(count: int = 64) -> LatentBatch:
    x = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return LatentBatch(x, torch.arange(count), [], [], labels=torch.arange(count) % 7)


def test_the_velocity_of_a_straight_line_is_learned() -> None:
    given = batch()
    oracle = Oracle(given.images)
    loss, _ = denoising_loss(oracle, given, seed=0, label_dropout=0.0)
    assert loss < 1e-6
    ((timesteps, labels),) = oracle.asked
    assert 0 < timesteps.min() < 250 and 750 < timesteps.max() < 1000
    assert torch.equal(labels, given.labels)


def test_labels_are_dropped_for_the_pipelines_empty_class() -> None:
    oracle = Oracle(batch().images)
    denoising_loss(oracle, batch(), seed=0, label_dropout=0.5)
    ((_, labels),) = oracle.asked
    empty = labels == EMPTY_CLASS
    assert 0.3 < empty.float().mean() < 0.7
    assert torch.equal(labels[~empty], batch().labels[~empty])


def test_chance_follows_from_keys_and_seed() -> None:
    network = build_denoiser(SMALL, (4, 8, 8))
    torch.nn.init.normal_(network.proj_out_2.weight, std=0.1)
    network.requires_grad_(False)
    losses = [float(denoising_loss(network, batch(4), seed, 0.1)[0]) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_it_begins_as_nothing_and_all_of_it_learns() -> None:
    network = build_denoiser(SMALL, (4, 8, 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(4):
        loss, velocity = denoising_loss(network, batch(8), 0, 0.1)
        assert step or not velocity.any()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dead = [name for name, value in network.named_parameters() if not value.grad.any()]
    assert dead == []


def test_classes_are_told_apart_alike_in_every_block() -> None:
    """In training mode diffusers would drop labels anew in each block."""
    network = build_denoiser(SMALL, (4, 8, 8))
    assert not any(module.training for module in network.modules())


def test_latents_that_patches_do_not_cover_are_refused() -> None:
    with pytest.raises(UserError, match="patch_size=2 does not divide the latents' side 7"):
        build_denoiser(SMALL, (4, 7, 7))
