"""Qualities: which step of the latents each one stands for. Part of the file format."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from ldm_ae.errors import UserError

# In units of 1/256 of the latents' overall deviation: from 8 deviations to 1/32 of one, about
# eight steps per octave. Integers, so that a decoded latent is an exact number of units.
# fmt: off
STEPS = (
    2048, 1875, 1717, 1573, 1440, 1319, 1208, 1106, 1013, 927, 849, 778, 712, 652, 597, 547,
    501, 459, 420, 385, 352, 323, 295, 270, 248, 227, 208, 190, 174, 160, 146, 134,
    122, 112, 103, 94, 86, 79, 72, 66, 61, 55, 51, 47, 43, 39, 36, 33,
    30, 27, 25, 23, 21, 19, 18, 16, 15, 14, 13, 12, 11, 10, 9, 8,
)
# fmt: on
NUM_QUALITIES = len(STEPS)
UNITS_PER_DEVIATION = 256

# Latents are clipped to this many units, 128 deviations, so that int16 holds every value.
MAX_VALUE = 2**15 - 1


def require_quality(quality: int) -> None:
    """Raise UserError unless it is a whole number from 0 to 63."""
    if not (isinstance(quality, Integral) and 0 <= quality < NUM_QUALITIES):
        raise UserError(
            f"quality={quality}: use a whole number from 0 (smallest) to {NUM_QUALITIES - 1}"
            " (finest)"
        )


def step(quality: int) -> int:
    """K_q, the quantisation step in units. Raises UserError as `require_quality`."""
    require_quality(quality)
    return STEPS[quality]


def largest_symbol(quality: int) -> int:
    """The magnitude that no symbol of this quality exceeds."""
    return MAX_VALUE // step(quality)


@dataclass(frozen=True)
class Scale:
    """Where a model's latents lie: unit, 1/256 of their overall deviation, and centre (C,)."""

    unit: float
    centre: np.ndarray

    def __post_init__(self) -> None:
        if not (np.isfinite(self.unit) and self.unit > 0 and np.isfinite(self.centre).all()):
            raise UserError(f"prior: unit={self.unit} must be positive, and centre finite")

    def in_steps(self, latents: np.ndarray, quality: int) -> np.ndarray:
        """Latents (C, h, w) => (z - centre) / (K unit) in float64, clipped to what symbols can
        hold. Raises UserError for latents that are not finite."""
        if not np.isfinite(latents).all():
            raise UserError("the latents are not finite: the image or the weights are broken")
        size = step(quality)
        scaled = (latents.astype(np.float64) - self.centre[:, None, None]) / (size * self.unit)
        return scaled.clip(-largest_symbol(quality), largest_symbol(quality))

    def latents(self, symbols: np.ndarray, quality: int) -> np.ndarray:
        """Symbols int64 (C, h, w) => latents float32, centre + s K unit."""
        values = symbols * step(quality) * self.unit
        return (values + self.centre[:, None, None]).astype(np.float32)
