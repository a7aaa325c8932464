"""One step: what moves, what must not, and that ranks and accumulation equal a larger batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.losses.adversarial import discriminator_hinge
from ldm_ae.losses.objective import Objective
from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual
from ldm_ae.train.setup import build_players, make_accelerator
from ldm_ae.train.steps import Players, _discriminator_step, noise_keys, train_step

VQ = [
    "model={kind: vq, latent_channels: 2, coder: {channels: [8, 8], num_res_blocks: 1,"
    " mid_attention: false, norm_groups: 4}, codebook: {size: 8, revive_after: 2}}"
]
GAN = [
    "loss.adversarial={weight: 0.5, start_step: 1, num_layers: 2, base_channels: 8}",
    "train.clip_norm=1.0",
]


def batch(num_images: int, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(8, 3, 16, 16, generator=generator)[first : first + num_images] * 2 - 1
    names = [f"{i}" for i in range(num_images)]
    return Batch(images, torch.arange(first, first + num_images), names, [])


def players(make_experiment, *overrides: str) -> Players:
    torch.manual_seed(0)
    experiment = make_experiment(*overrides)
    accelerator = make_accelerator(experiment.train, Path("unused"))
    return build_players(experiment, accelerator, None)[0]


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in module.state_dict().values()])


def test_accumulation_equals_the_larger_batch(make_experiment) -> None:
    one, two = (players(make_experiment) for _ in range(2))
    for step in range(2):
        train_step(one, [batch(4)], step, seed=0, clip_norm=1.0)
        train_step(two, [batch(2), batch(2, first=2)], step, seed=0, clip_norm=1.0)
    torch.testing.assert_close(weights(one.trainee), weights(two.trainee), atol=1e-6, rtol=1e-5)


def test_bf16_changes_nearly_all_weights_and_keeps_them_fp32(make_experiment) -> None:
    playing = players(make_experiment, "train.precision=bf16", "train.lr=4.5e-6")
    before = weights(playing.trainee.autoencoder).clone()
    for step in range(3):
        train_step(playing, [batch(4)], step, seed=0, clip_norm=1.0)
    assert all(p.dtype == torch.float32 for p in playing.trainee.parameters())
    changed = (weights(playing.trainee.autoencoder) != before).double().mean()
    assert float(changed) > 0.99


def test_learned_log_variance_moves_and_a_fixed_one_does_not(make_experiment) -> None:
    for learn in (True, False):
        playing = players(make_experiment, f"loss.learn_log_variance={learn}")
        train_step(playing, [batch(2)], 0, seed=0, clip_norm=0)
        assert bool(playing.trainee.log_variance.detach() != 0) is learn


def test_nothing_of_the_discriminator_runs_before_its_start(make_experiment) -> None:
    playing = players(make_experiment, *GAN)
    before = weights(playing.discriminator).clone()
    terms = train_step(playing, [batch(2)], 0, seed=0, clip_norm=1.0)
    assert torch.equal(weights(playing.discriminator), before)
    assert "adversarial" not in terms
    terms = train_step(playing, [batch(2)], 1, seed=0, clip_norm=1.0)
    assert not torch.equal(weights(playing.discriminator), before)
    assert {"adversarial", "adaptive_weight", "discriminator"} <= set(terms)


def test_each_step_leaves_the_other_network_without_gradient(make_experiment) -> None:
    playing = players(make_experiment, *GAN)
    fake = playing.model(batch(2).images).images
    _discriminator_step(playing, [batch(2)], [fake.detach()], clip_norm=1.0)
    assert all(p.grad is None for p in playing.trainee.parameters())
    train_step(playing, [batch(2)], 1, seed=0, clip_norm=1.0)
    assert all(p.grad is None for p in playing.discriminator.parameters())
    assert all(p.requires_grad for p in playing.discriminator.parameters())


def test_discriminator_gradient_is_that_of_its_own_loss(make_experiment, monkeypatch) -> None:
    playing = players(make_experiment, *GAN)
    seen = {}
    step = playing.discriminator_optimizer.step

    def record(*arguments, **keywords):
        seen["grad"] = [p.grad.clone() for p in playing.discriminator.parameters()]
        return step(*arguments, **keywords)

    monkeypatch.setattr(playing.discriminator_optimizer, "step", record)
    start = {name: value.clone() for name, value in playing.discriminator.state_dict().items()}
    model_start = {k: v.clone() for k, v in playing.trainee.state_dict().items()}
    train_step(playing, [batch(2)], 1, seed=0, clip_norm=0)

    playing.discriminator.load_state_dict(start)
    playing.trainee.load_state_dict(model_start)
    with torch.no_grad():
        fake = playing.trainee(batch(2).images, noise_keys(batch(2).keys, 0)).images
    real_logits = playing.discriminator(batch(2).images)
    loss = discriminator_hinge(real_logits, playing.discriminator(fake))
    expected = torch.autograd.grad(loss, list(playing.discriminator.parameters()))
    for ours, true in zip(seen["grad"], expected, strict=True):
        torch.testing.assert_close(ours, true)


def test_a_non_finite_gradient_stops_before_the_update(make_experiment) -> None:
    playing = players(make_experiment)
    before = weights(playing.trainee).clone()
    broken = batch(2)
    broken.images[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="norm is nan"):
        train_step(playing, [broken], 0, seed=0, clip_norm=1.0)
    assert torch.equal(weights(playing.trainee), before)


def test_the_perceptual_term_alone_trains_the_decoder(make_experiment) -> None:
    ends = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        experiment = make_experiment(
            "loss.reconstruction_weight=0", "loss.kl_weight=0", f"loss.perceptual_weight={weight}"
        )
        accelerator = make_accelerator(experiment.train, Path("unused"))
        perceptual = build_perceptual(PerceptualConfig(net="embedded"))
        playing, _ = build_players(experiment, accelerator, perceptual)
        start = weights(playing.trainee.autoencoder.decoder).clone()
        large = Batch(torch.rand(1, 3, 32, 32) * 2 - 1, torch.arange(1), [""], [])
        for step in range(2):
            train_step(playing, [large], step, seed=0, clip_norm=1.0)
        ends.append((weights(playing.trainee.autoencoder.decoder) != start).double().mean())
    assert float(ends[0]) == 0.0
    assert float(ends[1]) > 0.95


def test_perceptual_weight_zero_leaves_the_network_out(make_experiment) -> None:
    playing = players(make_experiment)
    assert isinstance(playing.objective, Objective) and playing.objective.perceptual is None


RANKS = Path(__file__).with_name("two_ranks.py")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["kl", "vq", "gan"])
def test_two_ranks_equal_one_process_with_the_double_batch(
    family: str, tiny_yaml: Path, tmp_path: Path
) -> None:
    overrides = {"kl": [], "vq": VQ, "gan": [*GAN, "loss.adversarial.adaptive=true"]}[family]
    results = []
    for num_ranks in (1, 2):
        out = tmp_path / f"{family}{num_ranks}"
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node"]
        command = [*launch, str(num_ranks), "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
        finished = subprocess.run(
            [*command, str(RANKS), str(tiny_yaml), str(out), *overrides],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
        results.append([torch.load(f"{out}-rank{rank}.pt") for rank in range(num_ranks)])
    (single,), (first, second) = results
    assert torch.equal(first, second)
    assert float((single - first).abs().max()) <= 1e-9
    assert single.dtype == torch.float64
