"""A model to start from: a folder, a file, a model of the package, or one on the hub."""

from __future__ import annotations

from dataclasses import dataclass

from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.load import find, load
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.settings import ModelSettings


@dataclass(frozen=True)
class PretrainedConfig:
    model: ModelSettings
    scaling: LatentScaling | None


def read_pretrained_config(source: str) -> PretrainedConfig:
    """The settings of `source`, whatever `ldm_ae.load` takes, without its weights.

    Raises UserError for what cannot be had, or is no model that this package computes.
    """
    try:
        stored = find(source)
        return PretrainedConfig(stored.config, stored.scaling)
    except UserError as error:
        raise UserError(f"model.init_from={source}: {error}") from error


def read_pretrained_model(source: str, variant: str | None = None) -> Autoencoder:
    """`source`, whose config `read_pretrained_config` has accepted, in fp32; variant: as
    `ldm_ae.load` has it."""
    try:
        return load(source, variant=variant)
    except UserError as error:
        raise UserError(f"model.init_from={source}: {error}") from error
