import pytest

from ldm_ae.losses.adversarial import AdversarialConfig


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weight", -1),
        ("start_step", -1),
        ("discriminator_warmup_steps", -1),
        ("ramp_steps", -1),
        ("lr_warmup_steps", -1),
        ("lecam_weight", -0.1),
        ("r1_weight", -0.1),
        ("r1_every", 0),
        ("num_layers", 0),
        ("base_channels", 6),
        ("lr", 0),
        ("lecam_decay", 1),
    ],
)
def test_bad_values_are_named(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"loss.adversarial.{key}={value}: use"):
        AdversarialConfig(**{key: value})


def test_the_generator_waits_and_then_its_term_rises() -> None:
    config = AdversarialConfig(discriminator_warmup_steps=3, ramp_steps=4)
    factors = [config.generator_factor(updates) for updates in range(9)]
    assert factors == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_without_warmup_and_ramp_the_term_is_whole_at_once() -> None:
    config = AdversarialConfig(discriminator_warmup_steps=0, ramp_steps=0, lr_warmup_steps=0)
    assert config.generator_factor(0) == config.lr_factor(0) == 1.0


def test_the_discriminators_learning_rate_warms_up_by_its_own_count() -> None:
    config = AdversarialConfig(lr_warmup_steps=4)
    assert [config.lr_factor(updates) for updates in (0, 1, 3, 99)] == [0.25, 0.5, 1, 1]
