"""Schedules as pure functions of the training step."""

import math
from typing import Literal

LearningRateSchedule = Literal["constant", "cosine"]


def learning_rate_factor(
    step: int,
    total_steps: int,
    warmup_steps: int,
    schedule: LearningRateSchedule,
    final_factor: float = 0.0,
) -> float:
    """Factor of the base learning rate for the update after `step` updates.

    Linear warm-up to 1 over warmup_steps, then constant, or a half cosine down to final_factor at
    total_steps.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def ema_decay(step: int, decay: float) -> float:
    """Decay of the averaged weights at a step: short memory at first, `decay` later."""
    return min(decay, (1 + step) / (10 + step))
