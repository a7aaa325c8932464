"""PCA, plain autoencoder, VAE, VQ and dVAE on small pictures: what they keep, what they dream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ldm_ae.data.images import to_uint8
from ldm_ae.errors import UserError
from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.discrete import DiscreteAutoencoder

SIDE, VALUES = 64, 64  # of a picture in pixels; of what is kept of it
CODES = 512
BATCH = 64

_GRID = "[16, 32, 64, 128]"  # the codebooks' coder: eight by eight codes
_DISCRETE = (
    "model={kind: discrete, coder: {channels: %s, num_res_blocks: 1, mid_attention: false,"
    " norm_groups: 4}, latent_channels: %d, codebook: %s}"
)

# What each changes in configs/vae_prior.yaml; STEPS stands for the steps of the training.
FAMILIES = {
    "plain": ["model.kind=plain"],
    "VAE": [],
    "VQ": [_DISCRETE % (_GRID, 4, f"{{kind: vq, size: {CODES}, revive_after: 50}}")],
    "dVAE": [
        _DISCRETE % (_GRID, 32, f"{{kind: gumbel, size: {CODES}, temperature_steps: STEPS}}"),
        "loss.kl_weight=0.05",
    ],
}

PROTOCOL = {
    "reconstruction": f"held-out pictures at {SIDE} px, rounded to uint8; means over pictures",
    "samples": "PCA: coefficients of the variances found; N(0, I): latents of a unit normal; "
    "fitted: a normal with mean and covariance of the training latents; codes: each drawn alike",
    "to_pictures": "Frechet distance of samples, or of what is kept, to as many training pictures",
    "to_kept": "of samples to the same model's reconstructions of these pictures",
    "floor": "of as many other training pictures to these",
}


@dataclass(frozen=True)
class PicturePCA:
    """PCA of whole pictures, of which no linear code of as many values keeps more.

    mean: (D,). components: (c, D), orthonormal. deviations: (c,), of the coefficients.
    """

    mean: Tensor
    components: Tensor
    deviations: Tensor
    shape: tuple[int, ...]

    @staticmethod
    def of(pictures: Tensor, values: int) -> PicturePCA:
        """Of (N, C, H, W). Raises UserError for fewer pictures than values."""
        if len(pictures) <= values:
            raise UserError(f"PCA to {values} values needs more than {len(pictures)} pictures")
        flat = pictures.flatten(1)
        mean = flat.mean(0)
        _, spread, directions = torch.pca_lowrank(flat - mean, values, center=False, niter=4)
        deviations = spread / (len(flat) - 1) ** 0.5
        return PicturePCA(mean, directions.T, deviations, tuple(pictures.shape[1:]))

    def reconstruct(self, pictures: Tensor) -> Tensor:
        return self._decode((pictures.flatten(1) - self.mean) @ self.components.T)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(count, len(self.deviations), generator=generator)
        return self._decode(noise * self.deviations)

    def _decode(self, coefficients: Tensor) -> Tensor:
        return (coefficients @ self.components + self.mean).unflatten(1, self.shape)


@torch.inference_mode()
def samples(
    models: Mapping[str, Autoencoder], pca: PicturePCA, pictures: Tensor, count: int, seed: int = 0
) -> dict[str, Tensor]:
    """Name of each way to draw -> (count, 3, H, W) in [-1, 1], not clamped.

    pictures: those that latents are fitted to.
    """
    drawn = {"PCA": pca.sample(count, _seeded(seed))}
    for name, model in models.items():
        if isinstance(model, DiscreteAutoencoder):
            grid = (count, *model.encode_indices(pictures[:1]).shape[1:])
            codes = torch.randint(0, model.quantizer.num_codes, grid, generator=_seeded(seed))
            drawn[f"{name}, codes"] = in_batches(model.decode_indices, codes)
            continue
        latents = in_batches(model.encode, pictures).flatten(1)
        shape = model.encode(pictures[:1]).shape[1:]
        noise = torch.randn(count, latents.shape[1], generator=_seeded(seed))
        covariance = torch.cov(latents.double().T)
        values, directions = torch.linalg.eigh(covariance)
        root = (directions * values.clamp_min(0).sqrt()).float()
        fitted = latents.mean(0) + noise @ root.T
        drawn[f"{name}, N(0, I)"] = in_batches(model.decode, noise.unflatten(1, shape))
        drawn[f"{name}, fitted"] = in_batches(model.decode, fitted.unflatten(1, shape))
    return drawn


def in_batches(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    return torch.cat([function(part) for part in inputs.split(BATCH)])


def distances(
    drawn: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    pictures: Tensor,
    others: Tensor,
    features: Callable[[Tensor], Tensor],
) -> tuple[list[dict[str, Any]], float]:
    """Rows of Fréchet distances, and that of other pictures to the pictures.

    drawn: by "NAME, how" or "NAME". kept: NAME -> its reconstructions of the pictures, which tell
    a decoder's blur from a prior that misses. features: (N, 3, H, W), uint8 -> (N, d).
    """

    def moments(images: Tensor) -> FeatureMoments:
        return FeatureMoments.of(in_batches(features, to_uint8(images)))

    reference = moments(pictures)
    own = {name: moments(images) for name, images in kept.items()}
    rows: list[dict[str, Any]] = [
        {"name": f"{name}, kept", "to_pictures": frechet_distance(reference, found), "to_kept": 0.0}
        for name, found in own.items()
    ]
    for name, images in drawn.items():
        found, family = moments(images), own[name.partition(",")[0]]
        distance = frechet_distance(reference, found)
        own_distance = frechet_distance(family, found)
        rows.append({"name": name, "to_pictures": distance, "to_kept": own_distance})
    return rows, frechet_distance(reference, moments(others))


def first(batches: Iterable[Tensor], count: int) -> Tensor:
    """The first `count` pictures of batches. Raises UserError if there are fewer."""
    taken: list[Tensor] = []
    missing = count
    for batch in batches:
        taken.append(batch[:missing])
        missing -= len(taken[-1])
        if missing == 0:
            return torch.cat(taken)
    raise UserError(f"{count} pictures are needed; the data hold {count - missing}")


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
