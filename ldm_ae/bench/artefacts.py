"""What a mean over a picture hides: a texture in the decoder's own grid, and colours that fade."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ldm_ae.bench.coder import Pixels

SEGMENT = 256  # pixels; every period below divides it
PERIODS = (8, 4, 2)  # pixels: the grids of an f8 decoder's levels
_NEIGHBOURS = range(2, 7)  # bins; a Hann window leaks into the nearest one
PATCH = 16  # pixels a side
SATURATED = 30  # levels of chroma, of a patch's mean
# BT.601, full range, as JPEG has it; chroma without its offset of 128.
_LUMA = np.array([0.299, 0.587, 0.114])
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


@dataclass
class Artefacts:
    """Adds up over pairs of pictures, uint8 (H, W, 3)."""

    power: np.ndarray = field(default_factory=lambda: np.zeros(SEGMENT // 2 + 1))
    chroma: list[np.ndarray] = field(default_factory=list)

    def add(self, original: Pixels, other: Pixels) -> None:
        error = (other.astype(np.float64) - original) @ _LUMA
        for lines in (error, error.T):
            self.power += _power(lines)
        self.chroma.append(np.stack([_patch_chroma(original), _patch_chroma(other)], axis=1))

    def grid_excess(self) -> dict[int, float | None]:
        """By period in pixels, along rows and columns: the luma error's power there over the mean
        of its neighbours, - 1: 0 is no grid, None no picture with a line of 256 pixels."""
        if not self.power.any():
            return dict.fromkeys(PERIODS)
        return {period: self._excess(SEGMENT // period) for period in PERIODS}

    def _excess(self, peak: int) -> float:
        bins = [peak + side * distance for side in (-1, 1) for distance in _NEIGHBOURS]
        around = [self.power[index] for index in bins if index < len(self.power)]
        return float(self.power[peak] / np.mean(around) - 1)

    def saturated(self) -> dict[str, float | int | None]:
        """Of patches whose chroma is 30 levels or more from grey: their number, the mean length of
        the error of their mean chroma, in levels, and the share of their chroma that is left."""
        before, after = np.concatenate(self.chroma).transpose(1, 0, 2)  # (patches, 2) each
        strength = np.linalg.norm(before, axis=1)
        chosen = strength >= SATURATED
        if not chosen.any():
            return {"patches": 0, "error": None, "left": None}
        before, after, strength = before[chosen], after[chosen], strength[chosen]
        along = (before * after).sum(axis=1) / strength
        return {
            "patches": int(chosen.sum()),
            "error": float(np.linalg.norm(after - before, axis=1).mean()),
            "left": float(along.sum() / strength.sum()),
        }


def artefacts_of(pairs: Iterable[tuple[Pixels, Pixels]]) -> Artefacts:
    found = Artefacts()
    for original, other in pairs:
        found.add(original, other)
    return found


def _power(lines: np.ndarray) -> np.ndarray:
    """(N, length) -> the summed periodograms of segments that overlap by half."""
    total = np.zeros(SEGMENT // 2 + 1)
    window = np.hanning(SEGMENT)
    for start in range(0, lines.shape[1] - SEGMENT + 1, SEGMENT // 2):
        part = lines[:, start : start + SEGMENT]
        part = (part - part.mean(axis=1, keepdims=True)) * window
        total += np.square(np.abs(np.fft.rfft(part, axis=1))).sum(axis=0)
    return total


def _patch_chroma(pixels: Pixels) -> np.ndarray:
    """Mean (Cb, Cr) of each whole patch, (patches, 2)."""
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    whole = pixels[: rows * PATCH, : columns * PATCH].astype(np.float64)
    patches = whole.reshape(rows, PATCH, columns, PATCH, 3).mean(axis=(1, 3))
    return (patches @ _CHROMA.T).reshape(-1, 2)
