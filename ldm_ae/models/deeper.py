"""More residual blocks than the weights have that a training starts from."""

from collections.abc import Mapping

import torch
from torch import Tensor


def deepened(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with those residual blocks of `fresh` that it lacks, and the attention after them,
    each adding nothing yet.

    A new block's last layer is zero, so that the network computes what it did (Chen et al. 2016,
    Net2DeeperNet; the zero is Fixup's, Zhang et al. 2019), and training puts it to use.
    """
    found = dict(state)
    for name, value in fresh.items():
        if name not in state and (".resnets." in name or ".attentions." in name):
            is_last = ".conv2." in name or ".to_out." in name
            found[name] = torch.zeros_like(value) if is_last else value
    return found
