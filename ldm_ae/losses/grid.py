"""The decoder's own texture as a term to train with: what an error has in common at every place of
its grid.

A decoder that repeats values f times sees each pixel at one of f x f places. Terms that ask for
texture are cheapest met by a pattern of these places, the same in all pictures; a perceptual
network hardly sees it, and a mean over pixels hides it. With e the error and its mean over the
blocks of a picture,

    m[c, i, j] = mean over blocks of e[c, f y + i, f x + j],

the term is the mean of (m - mean over i, j)^2, for each picture by itself.
"""

from einops import reduce
from torch import Tensor


def grid_power(output: Tensor, images: Tensor, period: int) -> Tensor:
    """Images (B, C, H, W) of both sides -> a scalar; period: f, in pixels. Rows and columns after
    the last whole block are left out; 0 where a side is shorter than one."""
    height, width = (side // period * period for side in images.shape[2:])
    error = (output - images)[..., :height, :width]
    if period < 2 or not error.numel():
        return output.new_zeros(())
    pattern = reduce(error, "b c (y i) (x j) -> b c i j", "mean", i=period, j=period)
    return (pattern - pattern.mean(dim=(2, 3), keepdim=True)).square().mean()
