"""What a quantizer is: the contract that models, exports and the codec rely on."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ldm_ae.errors import UserError


@dataclass(frozen=True)
class Quantized:
    """Latents after the codebook.

    codes: (B, d, h, w), gradient passes straight through, or through a relaxation (Gumbel).
    indices: int64 (B, h, w), the hard choice.
    penalties: scalar loss terms by name, means per element, in fp32, already weighed against each
        other; loss.codebook_weight weighs them all (`kl_uniform` alone goes by loss.kl_weight).
    """

    codes: Tensor
    indices: Tensor
    penalties: dict[str, Tensor] = field(default_factory=dict)


class QuantizerConfig:
    """Base of the frozen dataclasses listed in `quantizers.build`, told apart by `kind`.

    title: what a model with such a codebook is called. loss_is_summed: its literature sums the
    loss over an image, as of a likelihood, instead of taking a mean.
    """

    kind: str
    title: ClassVar[str]
    loss_is_summed: ClassVar[bool] = False

    @property
    def num_codes(self) -> int:
        """K."""
        raise AssertionError(f"{type(self).__name__} must define num_codes")

    @property
    def dim(self) -> int | None:
        """d, where the codebook fixes the length of a code; None leaves it to the model."""
        return None

    def require_table(self) -> None:
        """Raise UserError if the codes are too many for the table that an export needs."""


class Quantizer(nn.Module):
    """Latents (B, d, h, w) <-> indices int64 (B, h, w) in [0, K) of codes of length d.

    The nearest code to a latent, in Euclidean distance, must be the one that `indices` chooses,
    since that is how diffusers' VQModel will choose from `codes()`. Parameters are what `codes()`
    is made from; persistent buffers are what only training needs: checkpoints hold them, exports
    do not.
    """

    num_codes: int

    def forward(self, latents: Tensor, keys: Tensor | None = None) -> Quantized:
        """One pass, in training mode with whatever moves the codes; keys int64 (B,) fix each
        image's noise."""
        raise AssertionError(f"{type(self).__name__} must define forward")

    def indices(self, latents: Tensor) -> Tensor:
        """Latents (B, d, h, w) -> indices of their codes (B, h, w)."""
        raise AssertionError(f"{type(self).__name__} must define indices")

    def codes(self) -> Tensor:
        """The table of codes as they are decoded, (K, d). Raises UserError for too many."""
        raise AssertionError(f"{type(self).__name__} must define codes")

    def lookup(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) in [0, K) -> codes (B, d, h, w), fp32 if there are no parameters."""
        return rearrange(F.embedding(indices, self.codes()), "b h w d -> b d h w")

    def require_indices(self, indices: Tensor) -> None:
        """Raise UserError unless all indices lie in [0, K): a GPU would only abort."""
        if indices.numel() == 0:
            return
        least, greatest = int(indices.min()), int(indices.max())
        if least < 0 or greatest >= self.num_codes:
            raise UserError(
                f"indices lie in [{least}, {greatest}], the codebook has {self.num_codes} codes:"
                f" use 0 to {self.num_codes - 1}"
            )

    def set_step(self, step: int) -> None:
        """Tell the quantizer how many training steps are done; for those with a schedule."""

    def training_usage(self) -> dict[str, float]:
        """Numbers on the use of codes in training, over all ranks, for the logs."""
        return {}

    def training_buffers(self) -> set[str]:
        """Names in the state dict that only training needs."""
        return set(self.state_dict()) - {name for name, _ in self.named_parameters()}

    def restart_training(self) -> None:
        """Set those to what they are for codes that training has not touched yet."""
