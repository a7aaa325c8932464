"""From whatever `ldm_ae.load` opens to a diffusers folder, or to one file with LDM's names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ldm_ae.convert.agreement import Agreement, check, compare, probes
from ldm_ae.convert.diffusers_class import as_diffusers, save
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.ldm_names import is_attention_weight, to_ldm
from ldm_ae.convert.ldm_network import LDMNetwork
from ldm_ae.convert.ldm_yaml import to_ldm_yaml
from ldm_ae.convert.load import Stored, build_stored, find
from ldm_ae.convert.single_file import find as find_file
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.digests import write_digests
from ldm_ae.errors import UserError
from ldm_ae.files import aside_of, replacing
from ldm_ae.models.base import Autoencoder

FILES = (".ckpt", ".safetensors")


@dataclass(frozen=True)
class Converted:
    """place: what was written. agreement: of all networks that were compared, the worst. left_out:
    names that only training needs."""

    place: Path
    agreement: Agreement
    left_out: Sequence[str]


def convert(
    source: str | Path,
    out: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    scaling_factor: float | None = None,
    shift_factor: float | None = None,
) -> Converted:
    """Write `source`, anything that `ldm_ae.load` opens with the same arguments, to `out`.

    out: a new folder becomes a diffusers AutoencoderKL or VQModel; a `.ckpt` or `.safetensors` one
        file with LDM's names, with the YAML that LDM builds it from beside it.
    scaling_factor, shift_factor: instead of what the source says. A folder is not written without
        a factor, since no default is right for every model.

    Before anything is written, the networks of the source and of what is written are computed, each
    by its own names, and must agree within 1e-4 of the largest value. Raises UserError for that,
    for what is in the way, for what a format cannot hold, and as `ldm_ae.load`.
    """
    out = Path(out)
    _require_free(out)
    stored = find(source, subfolder, variant)
    if stored.paints:
        raise UserError(
            f"{stored.place} also decodes around masks (decoder.condition_encoder): a copy by this"
            " package would have lost that; ldm_ae.load opens it for use without a mask"
        )
    scaling = _scaling(stored, scaling_factor, shift_factor)
    model = build_stored(stored)
    exported = as_diffusers(model, scaling, stored.sample_size)
    agreements = [_agreed(model, exported, "the diffusers class")]
    if stored.ldm is not None:
        network = LDMNetwork(stored.ldm.as_stored())
        agreements.append(_agreed(model, network, "LDM's network, of the file's own weights,"))
    if out.suffix in FILES:
        agreements.append(_write_file(model, scaling, out))
    else:
        _write_folder(exported, out)
    return Converted(out, _worst(agreements), stored.ldm.left_out if stored.ldm else ())


def to_ldm_state(model: Autoencoder) -> dict[str, Tensor]:
    """The weights by LDM's names, fp32, attention as 1x1 convolutions."""
    levels = len(model.config.coder.channels)
    return {
        to_ldm(name, levels): value[:, :, None, None] if is_attention_weight(name) else value
        for name, value in to_diffusers_state(model).items()
    }


def _require_free(out: Path) -> None:
    if out.is_dir() and not out.suffix and not any(out.iterdir()):
        return
    places = [out, out.with_suffix(".yaml")] if out.suffix in FILES else [out]
    present = [place for place in places if place.exists()]
    if present:
        raise UserError(f"{present[0]} is there already: name another place to convert to")


def _scaling(
    stored: Stored, scaling_factor: float | None, shift_factor: float | None
) -> LatentScaling:
    scaling = stored.scaling
    if scaling_factor is not None:
        if not 0 < scaling_factor < float("inf"):
            raise UserError(f"scaling_factor={scaling_factor}: use a positive number")
        scaling = replace(scaling or LatentScaling(), scaling_factor=scaling_factor)
    if scaling is None:
        raise UserError(
            f"{stored.place} does not say what its latents are multiplied by: give a scaling factor"
            " (0.18215 for Stable Diffusion 1 and 2, 0.13025 for XL; of other models that which"
            " their diffusion model was trained with, or 1)"
        )
    if shift_factor is None:
        return scaling
    if not abs(shift_factor) < float("inf"):
        raise UserError(f"shift_factor={shift_factor}: use a number")
    return replace(scaling, shift_factor=shift_factor)


def _agreed(model: Autoencoder, other: object, name: str) -> Agreement:
    agreement = compare(model, other, [probes(model)])
    check(agreement, name)
    return agreement


def _worst(agreements: Sequence[Agreement]) -> Agreement:
    return Agreement(
        max(agreement.encode for agreement in agreements),
        max(agreement.decode for agreement in agreements),
        max(agreement.num_tokens for agreement in agreements),
        max(agreement.num_ties for agreement in agreements),
    )


def _write_folder(exported: object, out: Path) -> None:
    aside = aside_of(out, ".converting")
    try:
        aside.mkdir(parents=True)
        save(exported, aside)
        for path in aside.iterdir():  # safetensors writes for its user alone
            shutil.copymode(aside / "config.json", path)
        write_digests(aside)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_file(model: Autoencoder, scaling: LatentScaling, out: Path) -> Agreement:
    """The weights as they can be read back, compared, under their name last."""
    described = to_ldm_yaml(model.config, scaling)  # type: ignore[arg-type]
    state = {name: value.contiguous() for name, value in to_ldm_state(model).items()}
    with replacing(out.with_suffix(".yaml")) as text, replacing(out) as aside:
        text.write_text(described, encoding="utf-8")
        if out.suffix == ".ckpt":
            torch.save({"state_dict": state}, aside)
        else:
            save_file(state, aside, {"format": "pt"})
            shutil.copymode(text, aside)
        network = LDMNetwork(find_file(aside).as_stored())
        return _agreed(model, network, "LDM's network, of the file that was written,")
