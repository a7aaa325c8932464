"""Opens a model's folder, or a model of the package, as a codec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ldm_ae import zoo
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.contents import MAX_MEMORY
from ldm_ae.codec.format import container
from ldm_ae.codec.format.container import MAX_PIXELS
from ldm_ae.codec.priors.file import load_prior
from ldm_ae.convert.places import model_folder
from ldm_ae.convert.wrap import load_any
from ldm_ae.errors import UserError


def load_codec(
    folder: str | Path = zoo.DEFAULT_CODEC,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    device: torch.device | str = "cpu",
    max_pixels: int = MAX_PIXELS,
    max_memory: int | str = MAX_MEMORY,
) -> Codec:
    """The codec of a model of the package, of an export, or of any folder that `ldm_ae.load` opens
    or diffusers has an autoencoder for, once `ldm-ae calibrate` has given it a `prior.safetensors`;
    the arguments are `load`'s. max_pixels: files of larger pictures are refused; lower it for files
    from strangers, since a header alone may ask for minutes of work. max_memory: that the network
    may take for a large picture, such as "4GB"; what does not fit is kept in a nameless file in
    TMPDIR. Raises UserError as `load`, and if the prior is missing, damaged or another model's."""
    model = load_any(folder, subfolder=subfolder, variant=variant, device=device)
    place = model_folder(folder, subfolder)
    return Codec(model, load_prior(place), max_pixels, place, max_memory)


class Codecs:
    """The package's models as one reader: each file is read by the model that wrote it, and a
    model is loaded when the first of its files comes."""

    def __init__(
        self,
        device: torch.device | str = "cpu",
        max_pixels: int = MAX_PIXELS,
        max_memory: int | str = MAX_MEMORY,
    ) -> None:
        self._limits: dict[str, Any] = {"max_pixels": max_pixels, "max_memory": max_memory}
        self._device = device
        self._open: dict[Path, Codec] = {}

    def that_wrote(self, data: bytes) -> Codec:
        """Raises UserError for what is no .lae file, and for another model's."""
        digest = container.read(data).header.digest
        folder = zoo.written_by(digest)
        if folder is None:
            raise UserError(
                f"this .lae file was written with model {digest.hex()}, which does not come with"
                " this package: name its folder with --model"
            )
        if folder not in self._open:
            self._open[folder] = load_codec(folder, device=self._device, **self._limits)
        return self._open[folder]
