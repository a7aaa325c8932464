"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505), bounded by clamping.

The paper bounds latents by tanh before it rounds them. Clamped, each is rounded to the nearest
point of a grid, which is what diffusers' VQModel does with the grid's table.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.quantizers.base import Quantized, Quantizer, QuantizerConfig

_MAX_CODES, _MAX_TABLE = 1 << 62, 1 << 16


@dataclass(frozen=True)
class FSQConfig(QuantizerConfig):
    """levels: of each value of a code, evenly spaced from -1 to 1; K is their product.

    beta: weight of the squared distance from a latent to the grid's box: the gradient passes
        straight through the clamping, and would let latents drift off; 0 is off.
    """

    title: ClassVar[str] = "autoencoder with finite scalar quantisation"

    kind: Literal["fsq"] = "fsq"
    levels: tuple[int, ...] = (8, 5, 5, 5)
    beta: float = 0.25

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise UserError(f"codebook.levels={list(self.levels)}: list numbers of 2 or more")
        if self.num_codes > _MAX_CODES:
            raise UserError(
                f"codebook.levels={list(self.levels)}: more than 2^62 codes; use fewer levels"
            )
        if self.beta < 0:
            raise UserError(f"codebook.beta={self.beta}: use 0 (off) or more")

    @property
    def num_codes(self) -> int:
        return math.prod(self.levels)

    @property
    def dim(self) -> int:
        return len(self.levels)

    def require_table(self) -> None:
        if self.num_codes > _MAX_TABLE:
            raise UserError(
                f"codebook.levels={list(self.levels)}: diffusers' VQModel holds every code, and"
                f" {self.num_codes:,} are too many for its table; to export, use levels whose"
                f" product is {_MAX_TABLE:,} or less"
            )


class FiniteScalarQuantizer(Quantizer):
    """Without parameters. An index counts the levels of a latent's values, the first fastest."""

    def __init__(self, config: FSQConfig, dim: int) -> None:
        super().__init__()
        assert dim == len(config.levels)
        self.config, self.num_codes = config, config.num_codes

    def indices(self, latents: Tensor) -> Tensor:
        levels, places = self._radix(latents)
        # Half precision has too few digits for the levels between -1 and 1.
        latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
        steps = torch.round((latents.clamp(-1, 1) + 1) / 2 * (levels - 1)).long()
        return (steps * places).sum(dim=1)

    def lookup(self, indices: Tensor) -> Tensor:
        levels, places = self._radix(indices)
        steps = indices[:, None] // places % levels  # (B, d, h, w)
        return steps * (2.0 / (levels - 1)) - 1

    def _radix(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The levels, and what a step of each counts in an index, (d, 1, 1)."""
        levels = self.config.levels
        places = [math.prod(levels[:axis]) for axis in range(len(levels))]
        both = torch.tensor([levels, places], device=like.device)[:, :, None, None]
        return both[0], both[1]

    def codes(self) -> Tensor:
        self.config.require_table()
        return self.lookup(torch.arange(self.num_codes).view(1, 1, -1))[0, :, 0].T

    def forward(self, latents: Tensor, keys: Tensor | None = None) -> Quantized:
        """Straight-through; penalty `commitment`, where weighed."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
            indices = self.indices(latents)
            codes = self.lookup(indices).to(latents.dtype)
            penalties = {}
            if self.config.beta > 0:
                outside = latents - latents.clamp(-1, 1).detach()
                penalties["commitment"] = self.config.beta * outside.square().mean()
            return Quantized(latents + (codes - latents).detach(), indices, penalties)
