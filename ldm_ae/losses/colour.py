"""Colour as a term to train with: what an image lacks in hue and saturation, block by block.

Brightness makes most of an error's size, so a short training spends its latents on that and leaves
lawns grey: structural similarity looks at each channel's contrast, and a perceptual network hardly
at colour. Means over blocks leave out what only a finer picture could mend.
"""

import torch.nn.functional as F
from torch import Tensor


def colour_error(output: Tensor, images: Tensor, block: int) -> Tensor:
    """RGB (B, 3, H, W) in [-1, 1] -> the mean size of the error in the two opponent colours, red
    against green and yellow against blue, of means over blocks of `block` pixels a side."""
    block = min(block, *images.shape[2:])
    red, green, blue = F.avg_pool2d(output - images, block).unbind(dim=1)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    return (red_green.abs().mean() + yellow_blue.abs().mean()) / 2
