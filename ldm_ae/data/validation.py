"""The fixed images that training is judged by."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError, Item, decode_image
from ldm_ae.data.shards import open_shards
from ldm_ae.data.sources import open_table
from ldm_ae.data.transforms import centre_view

_log = logging.getLogger(__name__)


def validation_images(config: DataConfig) -> list[tuple[str, Tensor]]:
    """(name, uint8 (C, size, size)) of every validation image, in a fixed order.

    Empty where `config` asks for no validation. An unusable image is left out and named in the
    log. Raises ValueError when images were asked for and none is usable, and as `open_table`.
    """
    separate = config.validation_path is not None
    if config.validation_count == 0 and not separate and config.kind != "embedded":
        return []
    images = []
    for name, encoded in _encoded(config):
        try:
            if isinstance(encoded, BrokenImageError):
                raise encoded
            view = centre_view(decode_image(encoded, config.channels), config)
        except BrokenImageError as error:
            _log.warning("validation image %s is left out: %s", name, error)
            continue
        images.append((name, torch.from_numpy(view.copy()).permute(2, 0, 1).contiguous()))
    if not images:
        raise ValueError(
            "no validation image is usable: set data.validation_path to other images, or "
            "data.validation_count=0"
        )
    return images


def _encoded(config: DataConfig) -> list[Item]:
    if config.streaming and config.validation_path is None:
        return list(open_shards(config).read_held_out())
    table = open_table(config, "validation")
    items: list[Item] = []
    for index in range(len(table)):
        try:
            items.append((table.name(index), table.read(index)))
        except BrokenImageError as error:
            items.append((table.name(index), error))
    return items
