"""The game: when each network plays, that neither takes the other's gradient, and its start."""

import math

import pytest
import torch

from ldm_ae.losses.gan_losses import discriminator_loss
from ldm_ae.noise import noise_keys
from ldm_ae.train.adversarial import discriminator_step
from ldm_ae.train.steps import set_learning_rates, train_step

SMALL = "num_layers: 2, base_channels: 8"
AT_ONCE = "discriminator_warmup_steps: 0, ramp_steps: 0, lr_warmup_steps: 0"


def game(settings: str) -> str:
    return f"loss.adversarial={{weight: 0.5, {SMALL}, {settings}}}"


def test_each_player_enters_at_its_time(make_state, make_batch, flat) -> None:
    overrides = game("start_step: 1, discriminator_warmup_steps: 2, ramp_steps: 2")
    state = make_state(overrides)
    before = flat(state.discriminator.module.network)
    seen = []
    for step in range(6):
        seen.append(train_step(state, [make_batch(2)], step))
        if step == 0:
            assert torch.equal(flat(state.discriminator.module.network), before)
    assert not torch.equal(flat(state.discriminator.module.network), before)
    assert ["discriminator" in terms for terms in seen] == [False] + 5 * [True]
    factors = [float(terms.get("adversarial_factor", -1)) for terms in seen]
    assert factors == [-1, -1, -1, 0.5, 1, 1]
    assert state.discriminator.module.num_updates == 5


def test_nothing_of_the_discriminator_is_computed_before_its_start(
    make_state, make_batch, monkeypatch
) -> None:
    state = make_state(game("start_step: 3"))
    monkeypatch.setattr(
        state.discriminator.module.network, "forward", lambda images: pytest.fail("ran")
    )
    for step in range(3):
        train_step(state, [make_batch(2)], step)


def test_the_generator_is_untouched_while_the_discriminator_warms_up(
    make_state, make_batch, flat
) -> None:
    alone = make_state()
    warming = make_state(game("start_step: 0, discriminator_warmup_steps: 4"))
    for step in range(4):
        for state in (alone, warming):
            train_step(state, [make_batch(2)], step)
    assert torch.equal(flat(alone.generator.module), flat(warming.generator.module))
    train_step(warming, [make_batch(2)], 4)
    train_step(alone, [make_batch(2)], 4)
    assert not torch.equal(flat(alone.generator.module), flat(warming.generator.module))


def test_the_discriminators_learning_rate_is_its_own(make_state) -> None:
    settings = game("start_step: 0, lr: 4e-4, lr_warmup_steps: 4")
    state = make_state(settings)
    for updates, expected in ((0, 1e-4), (1, 2e-4), (9, 4e-4)):
        state.discriminator.module.num_updates = updates
        set_learning_rates(state, step=3)
        assert state.discriminator.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        assert state.generator.optimizer.param_groups[0]["lr"] == state.config.lr


def test_each_step_leaves_the_other_network_without_gradient(make_state, make_batch) -> None:
    state = make_state(game(f"start_step: 1, {AT_ONCE}"))
    fake = state.generator.wrapped(make_batch(2).images).images
    discriminator_step(state, [make_batch(2)], [fake.detach()])
    assert all(p.grad is None for p in state.generator.module.parameters())
    train_step(state, [make_batch(2)], 1)
    assert all(p.grad is None for p in state.discriminator.module.parameters())
    assert all(p.requires_grad for p in state.discriminator.module.parameters())


def test_discriminator_gradient_is_that_of_its_own_loss(
    make_state, make_batch, monkeypatch
) -> None:
    state = make_state(game(f"start_step: 1, {AT_ONCE}"), "train.clip_norm=0")
    seen = {}
    step = state.discriminator.optimizer.step

    def record(*arguments, **keywords):
        seen["grad"] = [p.grad.clone() for p in state.discriminator.module.parameters()]
        return step(*arguments, **keywords)

    monkeypatch.setattr(state.discriminator.optimizer, "step", record)
    start = {name: value.clone() for name, value in state.discriminator.module.state_dict().items()}
    model_start = {k: v.clone() for k, v in state.generator.module.state_dict().items()}
    train_step(state, [make_batch(2)], 1)

    state.discriminator.module.load_state_dict(start)
    state.generator.module.load_state_dict(model_start)
    with torch.no_grad():
        keys = noise_keys(make_batch(2).keys, 0)
        fake = state.generator.module(make_batch(2).images, keys).images
    real_logits = state.discriminator.module(make_batch(2).images)
    loss = discriminator_loss("hinge", real_logits, state.discriminator.module(fake))
    expected = torch.autograd.grad(loss, list(state.discriminator.module.parameters()))
    for ours, true in zip(seen["grad"], expected, strict=True):
        torch.testing.assert_close(ours, true)


@pytest.mark.parametrize("extra", ["", ", lecam_weight: 1, r1_weight: 100, r1_every: 2"])
def test_accumulation_equals_the_larger_batch(
    extra: str, make_state, make_batch, flat, float64
) -> None:
    settings = game(f"start_step: 0, adaptive: false, {AT_ONCE}{extra}")
    one, two = (make_state(settings) for _ in range(2))
    for step in range(3):
        train_step(one, [make_batch(4)], step)
        train_step(two, [make_batch(2), make_batch(2, first=2)], step)
    for a, b in (
        (one.generator.module, two.generator.module),
        (one.discriminator.module, two.discriminator.module),
    ):
        torch.testing.assert_close(flat(a), flat(b), atol=1e-9, rtol=0)


def test_r1_counts_lazily_and_k_fold(make_state, make_batch, monkeypatch) -> None:
    """With gamma g every k updates, the loss gains g k / 2 times the penalty at each k-th."""
    state = make_state(game(f"start_step: 0, r1_weight: 10, r1_every: 2, {AT_ONCE}"))
    totals = []
    backward = state.accelerator.backward
    monkeypatch.setattr(
        state.accelerator, "backward", lambda loss: (totals.append(loss.detach()), backward(loss))
    )
    fake = torch.zeros(2, 3, 16, 16)
    gains, penalties = [], []
    for _ in range(3):
        terms = discriminator_step(state, [make_batch(2)], [fake])
        gains.append(float(totals[-1] - terms["discriminator"]))
        penalties.append(float(terms["r1"]))
    assert gains[0] == pytest.approx(0.5 * 10 * 2 * penalties[0], rel=1e-3)
    assert penalties[0] > 0
    assert gains[1] == 0.0 and penalties[1] == penalties[0]
    assert gains[2] > 0.0 and penalties[2] != penalties[0]


def test_lecam_waits_for_anchors_and_then_counts(make_state, make_batch) -> None:
    state = make_state(game(f"start_step: 0, lecam_weight: 1, {AT_ONCE}"))
    fake = torch.zeros(2, 3, 16, 16)
    terms = discriminator_step(state, [make_batch(2)], [fake])
    assert "lecam" not in terms
    assert float(state.discriminator.module.real_anchor) == pytest.approx(
        float(terms["logits_real"])
    )
    assert "lecam" in discriminator_step(state, [make_batch(2)], [fake])


def test_what_the_log_needs_is_there(make_state, make_batch) -> None:
    state = make_state(game(f"start_step: 0, {AT_ONCE}"))
    terms = train_step(state, [make_batch(2)], 0)
    names = ("logits_real", "logits_fake", "discriminator_grad_norm", "discriminator_lr_factor")
    assert {*names, "adversarial", "adaptive_weight", "adversarial_factor"} <= set(terms)
    assert all(isinstance(value, float) for value in terms.values())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_short_games_end_without_a_nan(
    seed: int, precision: str, make_state, make_batch, flat
) -> None:
    norm = ("group", "batch", "none")[seed]
    settings = (
        f"loss.adversarial={{weight: 0.5, start_step: 2, norm: {norm}, num_layers: 1,"
        " base_channels: 8, discriminator_warmup_steps: 3, ramp_steps: 5,"
        " lecam_weight: 0.1, r1_weight: 10, r1_every: 4}"
    )
    state = make_state(
        settings, f"train.precision={precision}", f"train.seed={seed}", "train.lr=3e-3"
    )
    for step in range(15):
        batch = make_batch(2, first=(step + seed) % 6)
        terms = train_step(state, [batch], step)
        assert all(math.isfinite(float(value)) for value in terms.values())
    assert "adversarial" in terms
    assert (
        torch.isfinite(flat(state.generator.module)).all()
        and torch.isfinite(flat(state.discriminator.module)).all()
    )
