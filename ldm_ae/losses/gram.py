"""The distance of second moments of features: texture, wherever in the image it lies.

With u = a / |a| the features of one level, of unit length along the channels, as LPIPS has them:

    G(a) = 1 / (H W) sum_hw u u^T,    level(a, b) = || G(a) - G(b) ||_F^2

and a distance is the mean over levels. Gatys et al. 2016 (eq. 3-5) and Johnson et al. 2016 (eq. 4)
take the features as they are; then the largest activations decide alone, and levels differ by
orders of magnitude. Here every G has trace 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ldm_ae.losses.feature_distance import unit_length


def gram_matrix(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C), symmetric, trace 1."""
    columns = unit_length(features).flatten(2)  # (B, C, H W)
    return columns @ columns.transpose(1, 2) / columns.shape[2]


def gram_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Lists of (B, C_l, H_l, W_l) -> (B,)."""
    levels = [
        (gram_matrix(x) - gram_matrix(y)).square().sum(dim=(1, 2))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(levels).mean(dim=0)
