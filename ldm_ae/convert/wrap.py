"""Any image autoencoder of diffusers behind the calls of our own models."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldm_ae.convert.diffusers_config import DEFAULTS, LatentScaling, from_diffusers_config
from ldm_ae.convert.load import Stored, build_stored, load
from ldm_ae.convert.places import model_place, read_config
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder, at_least_fp32
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.models.rows import Rows
from ldm_ae.models.settings import ModelSettings

_PROBE = 128  # pixels: of every public model, a multiple of f


class WrappedConfig(ModelSettings):
    kind = "wrapped"

    def __init__(self, latent_channels: int) -> None:
        self.latent_channels = latent_channels


class WrappedAutoencoder(Autoencoder):
    """`encode`, `decode` and `reconstruct` as in every model of this package, computed by
    `.network`, the diffusers model, on its device and in its type; images and latents are at least
    fp32. Made by `wrap`. It computes whole pictures always: max_memory does not bound it."""

    def __init__(self, network: Any) -> None:
        nn.Module.__init__(self)
        self.network = network.eval()
        self.encoder_is_of_video = any(value.ndim == 5 for value in network.parameters())
        settings: Any = network.config
        self.image_channels = int(settings.get("in_channels", settings.get("image_channels", 3)))
        name = type(network).__name__
        latents, posterior = self._probed(name)
        self.latent_channels = latents.shape[1]
        self.downsampling_factor = _PROBE // latents.shape[2]
        self.config = WrappedConfig(self.latent_channels)
        self.title = f"{name} of diffusers"
        sampled = "the posterior's mean, and its variance" if posterior else "the encoder's output"
        self.latent_protocol = f"z of {name}: {sampled}"  # type: ignore[misc]
        self.scaling_factor = float(settings.get("scaling_factor") or 1.0)
        self.shift_factor = float(settings.get("shift_factor") or 0.0)
        self.latents_mean = _numbers(settings.get("latents_mean"))
        self.latents_std = _numbers(settings.get("latents_std"))
        dtype = next(network.parameters()).dtype
        self.precision = "fp32" if dtype == torch.float32 else str(dtype)

    @torch.no_grad()
    def _probed(self, name: str) -> tuple[Tensor, DiagonalGaussian | None]:
        """Latents of one grey image. Raises UserError unless that comes back in its own size."""
        device = next(self.network.parameters()).device
        image = torch.zeros(1, self.image_channels, _PROBE, _PROBE, device=device)
        try:
            latents, posterior = self.latents_and_posterior(image)
            size = tuple(self.decode_codes(latents).shape)
        except Exception as error:  # a stranger's model may raise anything
            raise UserError(f"{name} does not encode and decode an image: {error}") from error
        square = latents.ndim == 4 and latents.shape[2] == latents.shape[3]
        if size != tuple(image.shape) or not square or _PROBE % latents.shape[2]:
            raise UserError(
                f"{name} makes latents {tuple(latents.shape)} and an image {size} of one of"
                f" {tuple(image.shape)}: it is no image autoencoder"
            )
        return latents, posterior

    def encode(self, images: Tensor | Rows, max_memory: int | str | None = None) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], H and W multiples of f -> unscaled latents (B, c, H/f,
        W/f): the posterior's mode, where the model has one. Raises UserError for other sizes."""
        whole = images if isinstance(images, Tensor) else images.read(0, images.shape[2])
        return self.latents_and_posterior(whole)[0]

    def latents_and_posterior(self, images: Tensor) -> tuple[Tensor, DiagonalGaussian | None]:
        factor = getattr(self, "downsampling_factor", 1)
        if images.shape[2] % factor or images.shape[3] % factor:
            raise UserError(
                f"image size {images.shape[2]}x{images.shape[3]} is not divisible by the"
                f" downsampling factor {factor}: pad it, or call reconstruct(), which does"
            )
        encoded = self.network.encode(self._given(images))
        if "latent_dist" not in encoded:
            return self._taken(encoded[0]), None
        posterior = DiagonalGaussian(
            self._taken(encoded.latent_dist.mean), self._taken(encoded.latent_dist.logvar)
        )
        return posterior.mode(), posterior

    def decode_codes(self, codes: Tensor, max_memory: int | str | None = None) -> Tensor:
        """Unscaled latents (B, c, h, w) -> images (B, C, h f, w f), nominally in [-1, 1]."""
        return self._taken(self.network.decode(self._given(codes))[0])

    def decode_codes_in_strips(
        self, codes: Tensor, max_memory: int | str
    ) -> Iterator[tuple[int, Tensor]]:
        """All of them as one strip."""
        yield 0, self.decode_codes(codes)

    def diffusers_state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def _given(self, values: Tensor) -> Tensor:
        values = values.to(next(self.network.parameters()).dtype)
        return values.unsqueeze(2) if self.encoder_is_of_video else values  # one frame

    def _taken(self, values: Tensor) -> Tensor:
        return at_least_fp32(values.squeeze(2) if self.encoder_is_of_video else values)


def wrap(network: Any) -> Autoencoder:
    """A model of diffusers, `from_pretrained` or of your own, as one of this package: an
    AutoencoderDC, AutoencoderTiny, AutoencoderKLFlux2, one of video that is given single frames
    (Wan, Qwen-Image), or any other with `encode` and `decode`.

    Benchmarks, the latent card, statistics and, once calibrated, the codec take what is returned.
    It shares the network's weights and is not trained here; a VQModel is copied into a
    DiscreteAutoencoder, which has its indices too. Raises UserError for what does not encode and
    decode an image.
    """
    if type(network).__name__ == "VQModel":
        content = {**network.config, "_class_name": "VQModel"}
        state = copy.deepcopy(network).to("cpu", torch.float32).state_dict()
        scaling = LatentScaling(float(network.config["scaling_factor"]))
        config = from_diffusers_config({k: v for k, v in content.items() if v is not None})
        stored = Stored(Path("VQModel"), config, scaling, lambda expected: state)
        return build_stored(stored).to(next(network.parameters()).device)
    if not (isinstance(network, nn.Module) and hasattr(network, "config")):
        raise UserError(f"{type(network).__name__} is no model of diffusers")
    return WrappedAutoencoder(network)


def load_any(
    source: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    device: torch.device | str = "cpu",
) -> Autoencoder:
    """What `ldm_ae.load` opens, and any other autoencoder's folder of diffusers, wrapped. Raises
    UserError as both."""
    place = model_place(source, subfolder)
    name = None if place.is_file() else read_config(place).get("_class_name")
    if not isinstance(name, str) or name in DEFAULTS:
        return load(place, variant=variant, device=device)
    network: Any = _class(name)
    try:
        opened = network.from_pretrained(
            place, variant=variant, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place}: diffusers cannot open it: {reason}") from error
    return wrap(opened.to(device))


def _class(name: str) -> Any:
    try:
        from diffusers.models import autoencoders
    except ImportError as error:
        raise UserError(
            f'{name} is computed by diffusers, which is not here: pip install "ldm-ae[train]"'
        ) from error
    found = getattr(autoencoders, name, None)
    if found is None:
        raise UserError(f"config.json: _class_name={name} is no autoencoder of diffusers")
    return found


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
