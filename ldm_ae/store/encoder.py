"""Pictures to latents as bytes: what every engine calls, a batch at a time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldm_ae.codec.codec import Analysis, Codec
from ldm_ae.codec.digest import update_with_array
from ldm_ae.codec.priors.file import load_prior
from ldm_ae.convert.load import load
from ldm_ae.convert.places import model_folder
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.images import to_float
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.store.rows import Latents, to_bytes
from ldm_ae.store.settings import ModelChoice, Storage


class LatentEncoder:
    """uint8 pictures (H, W, C) => latents as bytes and their statistics.

    It can be pickled, and opens its model in the process that first needs it. As a function of a
    batch, a mapping of columns, it replaces the column `image` by `latents`, `channel_mean`,
    `channel_std` and `model`, and keeps the others: what `map_batches` of Ray Data and `map` of
    `datasets` (batched, with_rank) call.
    """

    def __init__(self, model: ModelChoice | str, storage: Storage | None = None) -> None:
        self.choice = ModelChoice(model) if isinstance(model, str) else model
        self.storage = storage or Storage()
        self._opened: tuple[Autoencoder, Codec | None, dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    @property
    def facts(self) -> dict[str, Any]:
        """What a store says of its model."""
        return self.open()[2]

    @property
    def model(self) -> Autoencoder:
        return self.open()[0]

    def __call__(
        self, batch: Mapping[str, Sequence[Any]], rank: int | None = None
    ) -> dict[str, Any]:
        """rank: of this process among several, which chooses the GPU."""
        self.open(rank)
        found = self.encode([np.asarray(image) for image in batch["image"]])
        columns = {name: list(cells) for name, cells in batch.items() if name != "image"}
        return columns | {
            "latents": [latents.pack() for latents in found],
            "channel_mean": [latents.mean for latents in found],
            "channel_std": [latents.std for latents in found],
            "model": [self.facts["sha256"]] * len(found),
        }

    def encode(self, images: Sequence[np.ndarray]) -> list[Latents]:
        """In the order of the images; those of one size are one batch of the network. Raises
        UserError for sizes that are no multiples of the model's factor, FloatingPointError for
        latents that are not finite."""
        places = defaultdict(list)
        for place, image in enumerate(images):
            places[image.shape].append(place)
        found: list[Latents | None] = [None] * len(images)
        for group in places.values():
            pixels = torch.from_numpy(np.stack([images[place] for place in group]))
            arrays = self._arrays(to_float(pixels.permute(0, 3, 1, 2)))
            for place, (array, latents) in zip(group, arrays, strict=True):
                found[place] = self._latents(array, latents, images[place].shape)
        return found  # type: ignore[return-value]  # each place has been filled

    @torch.inference_mode()
    def _arrays(self, images: Tensor) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Images (B, C, H, W) => of each what is stored, and the latents its statistics are of."""
        model, codec, _ = self.open()
        images = images.to(next(model.parameters()).device)
        if codec is not None:
            arrays = codec.content.analyse(images)
            return [(array, None if array.ndim == 2 else array) for array in arrays]
        latents, posterior = model.latents_and_posterior(images)
        if model.quantizer is not None:
            indices = model.quantizer.indices(latents).to("cpu", torch.int32).numpy()
            return [(array, None) for array in indices]
        kept = latents
        if self.storage.content == "moments":
            assert posterior is not None
            kept = torch.cat([posterior.mean, posterior.logvar], dim=1)
        arrays, modes = kept.float().cpu().numpy(), latents.float().cpu().numpy()
        return list(zip(arrays, modes, strict=True))

    def _latents(
        self, array: np.ndarray, latents: np.ndarray | None, shape: tuple[int, ...]
    ) -> Latents:
        codec, storage = self.open()[1], self.storage
        if codec is not None:
            analysis = Analysis(array, shape[1], shape[0], shape[2] == 1, None)
            quality = None if codec.content.discrete else storage.quality
            # To the nearest: training wants the latents, not what looks best for the bits.
            pack = partial(codec.pack, analysis, quality, lagrangian=0)
        else:
            pack = partial(to_bytes, array, storage.dtype)
        if latents is None:
            return Latents(pack, [], [])
        flat = latents.reshape(len(latents), -1).astype(np.float64)
        return Latents(pack, flat.mean(axis=1).tolist(), flat.std(axis=1).tolist())

    def open(self, rank: int | None = None) -> tuple[Autoencoder, Codec | None, dict[str, Any]]:
        """The model, its codec where latents are coded, and what a store says of it. Raises
        UserError as `load_any`, and for storage that does not suit the model."""
        if self._opened is None:
            choice, device = self.choice, self.choice.device
            if device == "cuda" and rank is not None:
                device = f"cuda:{rank % max(1, torch.cuda.device_count())}"
            place: dict[str, Any] = {"subfolder": choice.subfolder, "variant": choice.variant}
            model = load_any(choice.folder, **place, device=device)
            digest = weights_digest(model)
            if choice.precision != "fp32":
                model = load(choice.folder, **place, device=device, precision=choice.precision)
            self._check(model)
            codec = None
            if self.storage.content == "coded":
                folder = model_folder(choice.folder, choice.subfolder)
                codec = Codec(model, load_prior(folder), folder=folder)
                codec.require_rate(None if codec.content.discrete else self.storage.quality, None)
            self._opened = model, codec, _facts(model, codec, digest)
        return self._opened

    def _check(self, model: Autoencoder) -> None:
        if self.storage.content != "moments" or model.quantizer is not None:
            return
        factor = model.downsampling_factor
        images = torch.zeros(1, model.image_channels, factor, factor)
        device = next(model.parameters()).device
        if model.latents_and_posterior(images.to(device))[1] is None:
            raise UserError("this model's latents have no variance: store their mode")


def weights_digest(model: Autoencoder) -> str:
    """Of all weights in fp32, in order of name, however their files hold them."""
    digest = hashlib.sha256()
    for name, value in sorted(model.diffusers_state().items()):
        update_with_array(digest, name, value.to("cpu", torch.float32).numpy())
    return digest.hexdigest()


def _facts(model: Autoencoder, codec: Codec | None, digest: str) -> dict[str, Any]:
    facts = {
        "sha256": digest,
        "precision": model.precision,
        "downsampling_factor": model.downsampling_factor,
        "image_channels": model.image_channels,
        "num_codes": None if model.quantizer is None else model.quantizer.num_codes,
        "scaling_factor": model.scaling_factor,
        "shift_factor": model.shift_factor,
    }
    return facts if codec is None else facts | {"codec": codec.digest.hex()}
