import pytest

from ldm_ae.train.schedules import ema_decay, learning_rate_factor


def test_warmup_then_constant() -> None:
    factors = [learning_rate_factor(step, 100, 4, "constant") for step in (0, 1, 3, 4, 99)]
    assert factors == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_cosine_ends_at_the_final_factor() -> None:
    assert learning_rate_factor(10, 110, 10, "cosine", 0.1) == 1.0
    assert learning_rate_factor(60, 110, 10, "cosine", 0.1) == pytest.approx(0.55)
    assert learning_rate_factor(110, 110, 10, "cosine", 0.1) == pytest.approx(0.1)


def test_average_has_a_short_memory_at_first() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999
