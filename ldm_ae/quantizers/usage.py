"""How much of a codebook is in use."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodebookUsage:
    """share: used codes / K, in [0, 1]. perplexity: exp(entropy), in [1, K]. tokens counted."""

    share: float
    perplexity: float
    num_tokens: int


def count_codes(indices: Tensor, codebook_size: int) -> Tensor:
    """Occurrences of each code: int64 indices of any shape -> int64 (K,)."""
    return torch.bincount(indices.flatten(), minlength=codebook_size)


def codebook_usage(counts: Tensor) -> CodebookUsage:
    """Usage from counts (K,); van den Oord et al. 2017 report the perplexity."""
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no tokens were counted: encode at least one image first")
    shares = counts.double() / total
    entropy = -(shares * shares.clamp_min(1e-300).log()).sum()
    return CodebookUsage(
        share=float((counts > 0).double().mean()),
        perplexity=float(entropy.exp()),
        num_tokens=total,
    )
