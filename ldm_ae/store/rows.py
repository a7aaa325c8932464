"""What a store holds of one view: its latents as bytes, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ldm_ae.data.texts import Texts
from ldm_ae.errors import UserError
from ldm_ae.store.settings import Storage
from ldm_ae.store.views import View

KEY = "latents"  # of the one tensor in a cell

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("latents", pa.binary()),
        ("caption", pa.string()),
        ("label", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("channel_mean", pa.list_(pa.float64())),
        ("channel_std", pa.list_(pa.float64())),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("model", pa.string()),
        ("protocol", pa.string()),
    ]
)


@dataclass(frozen=True)
class Latents:
    """Of one view. pack: gives the bytes to store; costs time for coded ones. mean, std: of each
    channel; empty for indices."""

    pack: Callable[[], bytes]
    mean: list[float]
    std: list[float]


@dataclass(frozen=True)
class Row:
    """id: the source's, with `#1`, `#flipped` behind it for further views.
    latents: a safetensors file of the one tensor `latents`, (c, h, w), (2c, h, w) for moments or
        (h, w) for indices; or an .lae file, as the protocol's `content` says.
    width, height: of the view, in pixels.
    channel_mean, channel_std: of these latents, (c,); empty for indices.
    source, source_sha256: the picture's name in its source, and the hash of its encoded bytes.
    model: SHA-256 of its weights. protocol: JSON; what was done between the picture and these
        bytes, and what scales them.
    """

    id: str
    latents: bytes
    caption: str | None
    label: str | None
    width: int
    height: int
    channel_mean: list[float]
    channel_std: list[float]
    source: str
    source_sha256: str
    model: str
    protocol: str

    @cached_property
    def said(self) -> dict[str, Any]:
        """The protocol as a mapping."""
        said: dict[str, Any] = json.loads(self.protocol)
        return said

    def tensor(self) -> Tensor:
        """What is stored, of its own type. Raises UserError for coded latents, and broken bytes."""
        if self.said["content"] == "coded":
            raise UserError(f"{self.id} holds coded latents: a codec decodes them")
        try:
            return load(self.latents)[KEY]
        except (SafetensorError, KeyError) as error:
            raise UserError(f"{self.id}: its latents cannot be read: {error}") from error


def to_bytes(array: np.ndarray | Tensor, dtype: str) -> bytes:
    """Latents, or indices int32, => a safetensors file. Raises FloatingPointError for values that
    are beyond the type."""
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    if tensor.is_floating_point():
        tensor = tensor.to(getattr(torch, dtype))
        if not bool(tensor.isfinite().all()):
            raise FloatingPointError(
                f"latents that are not finite in {dtype}: store them in bfloat16 or float32, or, if"
                " they are not finite in those, use another model"
            )
    return save({KEY: tensor.contiguous()})


def make_row(
    source: str,
    sha256: str,
    texts: Texts,
    view: View,
    latents: Latents,
    storage: Storage,
    facts: Mapping[str, Any],
) -> Row:
    """Of a view of the picture `source`. facts: of the model."""
    return Row(
        id=source + view.suffix,
        latents=latents.pack(),
        caption=texts.caption,
        label=texts.label,
        width=view.size[0],
        height=view.size[1],
        channel_mean=latents.mean,
        channel_std=latents.std,
        source=source,
        source_sha256=sha256,
        model=facts["sha256"],
        protocol=_protocol(view, storage, facts),
    )


def _protocol(view: View, storage: Storage, facts: Mapping[str, Any]) -> str:
    """What was done between a picture and a row's bytes, as JSON."""
    coded = {"quality": storage.quality} if storage.content == "coded" else {}
    said = {
        "original": view.original,
        "crop": view.box,
        "resampling": "antialiased bicubic",
        "flipped": view.flipped,
        "range": [-1, 1],
        "content": "indices" if _holds_indices(storage, facts) else storage.content,
        "dtype": "int32" if facts["num_codes"] else storage.dtype,
        "precision": facts["precision"],
        "downsampling_factor": facts["downsampling_factor"],
        "scaling_factor": facts["scaling_factor"],
        "shift_factor": facts["shift_factor"],
    }
    return json.dumps(said | coded)


def _holds_indices(storage: Storage, facts: Mapping[str, Any]) -> bool:
    return facts["num_codes"] is not None and storage.content != "coded"
