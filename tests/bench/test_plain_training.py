from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ldm_ae.bench.plain_training import PlainTraining, Recipe, ldm_recipe, script_recipe
from ldm_ae.data.batch import Batch
from ldm_ae.errors import UserError


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, latent_channels=2)
    model.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


class Loader:
    """The same two pictures again and again; from where it was asked to begin is kept."""

    batch_size = 2

    def __init__(self) -> None:
        self.began: list[int] = []

    def batches(self, position: int) -> Iterator[Batch]:
        self.began.append(position)
        while True:
            yield Batch(images(), torch.arange(2), ["0", "1"], [])


def images() -> Tensor:
    coarse = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, scale_factor=8)


def squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean(dim=(1, 2, 3))


def training(start: Path, recipe: Recipe, perceptual: Any = squared, name: str = "run"):
    return PlainTraining(recipe, start, start.parent / name, perceptual, bf16=False)


def weights(found: PlainTraining) -> Tensor:
    return torch.cat([value.flatten() for value in found.model.parameters()]).detach().clone()


def test_it_learns_with_a_discriminator_too(start: Path) -> None:
    plain = training(start, ldm_recipe(2e-3))
    with torch.no_grad():
        before = (plain.model(images()).sample - images()).abs().mean()
    for step in range(20):
        plain.step(images(), step / 20)
    with torch.no_grad():
        after = (plain.model(images()).sample - images()).abs().mean()
    assert after < 0.7 * before


def test_the_discriminator_waits_for_its_share_and_moves_the_model_from_then_on(
    start: Path,
) -> None:
    with_it, without = (
        training(start, recipe)
        for recipe in (ldm_recipe(1e-3), replace(ldm_recipe(1e-3), adversarial_from=None))
    )
    first = [value.clone() for value in with_it.discriminator.parameters()]
    for share, equal in ((0.3, True), (0.4, False)):
        for plain in (with_it, without):
            torch.manual_seed(3)
            plain.step(images(), share)
        moved = zip(first, with_it.discriminator.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in moved) == equal
        assert torch.equal(weights(with_it), weights(without)) == equal


@pytest.mark.parametrize(
    ("recipe", "same"),
    [(script_recipe(), True), (ldm_recipe(4.5e-6), False)],
    ids=["script", "ldm"],
)
def test_the_script_computes_a_perceptual_loss_that_trains_nothing(
    recipe: Recipe, same: bool, start: Path
) -> None:
    called = []

    def other(x: Tensor, y: Tensor) -> Tensor:
        called.append(1)
        return 1000 * squared(x.flip(3), y)

    found = []
    for perceptual in (squared, other):
        plain = training(start, recipe, perceptual)
        torch.manual_seed(3)
        plain.step(images(), 0.0)
        found.append(weights(plain))
    assert called and torch.equal(*found) == same


def test_it_stops_at_its_time_keeps_models_and_goes_on(
    start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(
        "ldm_ae.bench.plain_training.time", SimpleNamespace(perf_counter=lambda: next(clock))
    )
    monkeypatch.setattr("ldm_ae.bench.plain_training.SAVE_EVERY", 2)
    loader = Loader()
    torch.manual_seed(5)
    whole = training(start, ldm_recipe(1e-3), name="whole")
    torch.manual_seed(5)
    whole.run(loader, 8, (0.5, 1.0))
    assert whole.steps == 8 and {path.name for path in whole.run_dir.glob("at-*")} == {
        "at-0.5",
        "at-1",
    }

    torch.manual_seed(5)
    stopped = training(start, ldm_recipe(1e-3), name="stopped")
    torch.manual_seed(5)
    with monkeypatch.context() as patch:
        patch.setattr(stopped, "_save", _then_stop(stopped._save))
        with pytest.raises(KeyboardInterrupt):
            stopped.run(loader, 8, (0.5, 1.0))
    again = training(start, ldm_recipe(1e-3), name="stopped")
    assert again.seconds == 3
    again.run(loader, 8, (0.5, 1.0))
    assert loader.began == [0, 0, 6]
    assert torch.equal(weights(again), weights(whole))


def _then_stop(save):
    def call() -> None:
        save()
        raise KeyboardInterrupt

    return call


def test_the_folder_of_another_recipe_is_refused(start: Path) -> None:
    training(start, ldm_recipe(1e-3)).run(Loader(), 0.01, [])
    training(start, ldm_recipe(1e-3))
    with pytest.raises(UserError, match=r"run was trained by another recipe: remove it"):
        training(start, ldm_recipe(1e-4))
