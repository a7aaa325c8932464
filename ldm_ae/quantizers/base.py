"""What every quantizer gives back."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Quantized:
    """Latents after the codebook.

    codes: (B, d, h, w), gradient passes straight through (VQ) or through the relaxation (dVAE).
    indices: int64 (B, h, w), the hard choice.
    penalties: scalar loss terms by name, means per element, in fp32.
    """

    codes: Tensor
    indices: Tensor
    penalties: dict[str, Tensor] = field(default_factory=dict)
