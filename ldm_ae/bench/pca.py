"""The linear baseline: PCA of f x f patches, c values kept of each.

No linear code of c values per patch has a smaller squared error on the images it was fitted to
(Eckart and Young 1936), so it is the floor that a learned autoencoder of equal latent size has
to beat. Patches are flattened in the order (C, f, f): a component is a convolution's kernel.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ldm_ae.data.images import pad_to_multiple
from ldm_ae.errors import UserError


@dataclass(frozen=True)
class PatchPCA:
    """Images (B, C, H, W) in [-1, 1] <-> latents (B, c, H/f, W/f), as an autoencoder has them.

    patch_size: f.
    mean: (D,) float64 with D = C f f, the mean patch.
    components: (c, D) float64, orthonormal rows, largest variance first: the kept subspace.
    variances: (D,) float64, of all components; those after the first c sum to the squared
        error per patch that is lost on the images of the fit.
    """

    patch_size: int
    mean: Tensor
    components: Tensor
    variances: Tensor

    @property
    def downsampling_factor(self) -> int:
        return self.patch_size

    @property
    def latent_channels(self) -> int:
        return len(self.components)

    def encode(self, images: Tensor) -> Tensor:
        """Images whose sides f divides -> latents, in float64."""
        patches = to_patches(images.double(), self.patch_size)
        return rearrange((patches - self.mean) @ self.components.T, "b h w c -> b c h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> images in the range of the fit, float32, not clamped."""
        codes = rearrange(latents.double(), "b c h w -> b h w c")
        return from_patches(codes @ self.components + self.mean, self.patch_size).float()

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images)) for any H and W: edges repeated to a multiple of f, cut back."""
        padded, (height, width) = pad_to_multiple(images, self.patch_size)
        return self.decode(self.encode(padded))[..., :height, :width]


def to_patches(images: Tensor, patch_size: int) -> Tensor:
    """(B, C, H, W) -> (B, H/f, W/f, C f f). Raises UserError if f does not divide H and W."""
    f, (height, width) = patch_size, images.shape[2:]
    if height % f or width % f:
        raise UserError(f"image size {height}x{width} is not divisible by the patch size {f}")
    return rearrange(images, "b c (h i) (w j) -> b h w (c i j)", i=f, j=f)


def from_patches(patches: Tensor, patch_size: int) -> Tensor:
    """(B, h, w, C f f) -> (B, C, h f, w f)."""
    f = patch_size
    return rearrange(patches, "b h w (c i j) -> b c (h i) (w j)", i=f, j=f)


class PatchCovariance:
    """The mean and covariance of patches, gathered over images of any sizes in float64.

    Sums of squares about the running mean are merged by Chan, Golub and LeVeque 1983, eq. 2.1,
    so that a large mean costs no digits.
    """

    def __init__(self, patch_size: int, image_channels: int = 3) -> None:
        dim = image_channels * patch_size**2
        self.patch_size = patch_size
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    def update(self, images: Tensor) -> None:
        """Add the whole patches of (B, C, H, W) images; a remainder at the edge is left out."""
        f, (height, width) = self.patch_size, images.shape[2:]
        whole = images[..., : height - height % f, : width - width % f]
        patches = to_patches(whole.double(), f).flatten(0, 2)  # (N, D)
        if len(patches) == 0:
            return
        mean = patches.mean(dim=0)
        centred = patches - mean
        shift, total = mean - self.mean, self.count + len(patches)
        self.scatter += centred.T @ centred
        self.scatter += torch.outer(shift, shift) * (self.count * len(patches) / total)
        self.mean += shift * (len(patches) / total)
        self.count = total

    def fit(self, num_components: int) -> PatchPCA:
        """The PCA of what was gathered.

        Raises UserError for more components than a patch has values, or than patches seen.
        """
        dim = len(self.mean)
        if not 1 <= num_components <= dim:
            raise UserError(
                f"num_components={num_components}: a patch has {dim} values, keep 1 to {dim}"
            )
        if self.count <= num_components:
            raise UserError(
                f"PCA of {num_components} components needs more than {num_components} patches "
                f"of {self.patch_size} x {self.patch_size}; got {self.count}: give more images"
            )
        variances, vectors = torch.linalg.eigh(self.scatter / self.count)  # ascending
        components = vectors.flip(1).T[:num_components].contiguous()
        return PatchPCA(self.patch_size, self.mean.clone(), components, variances.flip(0))


def fit_patch_pca(images: Iterable[Tensor], patch_size: int, num_components: int) -> PatchPCA:
    """PCA over batches of (B, C, H, W) images. Raises UserError if there are too few patches."""
    covariance: PatchCovariance | None = None
    for batch in images:
        covariance = covariance or PatchCovariance(patch_size, batch.shape[1])
        covariance.update(batch)
    if covariance is None:
        raise UserError("PCA was given no image to fit")
    return covariance.fit(num_components)


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles in degrees, smallest first, between the spans of the rows of (c, D) `a` and `b`.

    Bjorck and Golub 1973: cosines are the singular values of Qa^T Qb. Angles below 45 degrees
    come from the sines, which keep the digits that arccos loses near 1.
    """
    qa, qb = (torch.linalg.qr(rows.double().T).Q for rows in (a, b))
    cosines = torch.linalg.svdvals(qa.T @ qb).clamp(max=1)
    sines = torch.linalg.svdvals(qb - qa @ (qa.T @ qb)).flip(0).clamp(max=1)
    return torch.rad2deg(torch.where(sines < 0.5**0.5, torch.asin(sines), torch.acos(cosines)))
