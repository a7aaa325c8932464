"""Opens an export, a diffusers AutoencoderKL or VQModel, or one of LDM's, without diffusers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ldm_ae.convert import asymmetric, single_file
from ldm_ae.convert.diffusers_config import LatentScaling, from_diffusers_config, scaling_of
from ldm_ae.convert.places import (
    CONFIG,
    STEM,
    file_tensors,
    folder_tensors,
    model_place,
    read_config,
)
from ldm_ae.convert.tensors import Shapes, Tensors, read_state
from ldm_ae.convert.weights import current_name
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.fast import make_fast
from ldm_ae.models.settings import ModelSettings
from ldm_ae.weights_file import require_finite


@dataclass(frozen=True)
class Stored:
    """A model as it lies on the disk.

    scaling: None where nothing says it. weights: reads them, of these names and shapes and no
    others. ldm: the file, if it is one of LDM's or sgm's. paints: it decodes around masks, too,
    which this package does not.
    """

    place: Path
    config: ModelSettings
    scaling: LatentScaling | None
    weights: Callable[[Shapes], dict[str, Tensor]]
    ldm: single_file.SingleFile | None = None
    sample_size: int = 0
    paints: bool = False


def load(
    folder: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    device: torch.device | str = "cpu",
    precision: Literal["fp32", "fast"] = "fp32",
    dtype: torch.dtype = torch.float32,
) -> Autoencoder:
    """The autoencoder in a folder or file, in eval mode, its weights in fp32 unless asked for.

    folder: a model of the package by name (`kl`, `kl-1`; a folder of such a name is `./kl`), or
        `config.json` beside `diffusion_pytorch_model.safetensors` (whole, or in shards with
        an index; a `.bin` is read only where there is neither, and only its tensors), or a whole
        pipeline's folder, whose `vae`, `vqvae` or `movq` is then taken; or one file: a checkpoint
        of latent diffusion, taming-transformers or sgm (`.ckpt`, its YAML beside it heeded if it
        is there), a VAE in a `.safetensors`, a whole Stable Diffusion, whose first stage is then
        taken; or, on the hub, `hub:owner/model` or `hub:owner/model/` with a folder or a file:
        nothing else makes it ask the network.
    subfolder: of a pipeline's folder, to choose. variant: `fp16` takes the files of that name; it
        may be left out where there are no others.

    An AutoencoderKL becomes a KLAutoencoder (an exported plain autoencoder too: its posterior has
    log sigma^2 = -30), an AsymmetricAutoencoderKL one with a decoder of its own, which is given no
    mask, a VQModel a DiscreteAutoencoder that chooses the nearest code, whatever
    codebook was exported. `.scaling_factor` is what a pipeline multiplies latents by, 1 where a
    file does not say it; `encode` and `decode` work on unscaled ones; `.latents_mean` and
    `.latents_std` are an export's statistics per channel, or None. The output is the diffusers
    class' own, in fp32.

    precision: `fast` is for use without exactness: `.precision` of the model says what was taken,
        images decoded from the same latents differ by less than half an 8-bit level in the mean,
        indices may differ, and a codec does not take such a model. Its weights, those of its
        `state_dict` too, are rounded where it took bf16. On a CPU the process keeps freed memory
        from then on; blocks write over what they are given, and not every convolution is called,
        so that hooks miss some; changes of weights through `.data` go unnoticed (`models.frozen`).
        What looks into a network, or changes it, takes an exact model.

    dtype: of the encoder's and decoder's weights, bf16 or fp16 for less memory; images, latents,
        the 1x1 convolutions beside them and the codebook stay fp32. A codec takes fp32 alone.

    Raises UserError for a missing or broken file, a device that is not there, a class or setting
    that is not supported, and weights whose names or shapes do not fit the config, before memory
    is taken for them.
    """
    device = usable_device(device)
    if precision not in ("fp32", "fast"):
        raise UserError(f"precision={precision!r}: use fp32 or fast")
    if precision == "fast" and device.type not in ("cpu", "cuda"):
        raise UserError(
            f"precision=fast with device={device} is for CPUs and CUDA: leave it out, and call the"
            " model under torch.autocast"
        )
    if dtype not in _PRECISIONS or (precision == "fast" and dtype != torch.float32):
        raise UserError(
            f"dtype={dtype} with precision={precision}: use torch.float32, torch.bfloat16 or"
            " torch.float16, and leave it out with precision=fast"
        )
    model = build_stored(find(folder, subfolder, variant))
    if precision == "fast":
        make_fast(model, device)
    elif dtype != torch.float32:
        model.encoder.to(dtype)
        model.decoder.to(dtype)
        model.precision = _PRECISIONS[dtype]
    return model.to(device)


_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def find(source: str | Path, subfolder: str | None = None, variant: str | None = None) -> Stored:
    """What `load` opens, without its weights. Raises UserError as `load`."""
    place = model_place(source, subfolder)
    if not place.is_file():
        return _described(place, read_config(place), partial(folder_tensors, place, variant))
    if place.name.startswith(STEM) and place.with_name(CONFIG).is_file():
        return _described(place, read_config(place.parent), partial(file_tensors, place))
    file = single_file.find(place)
    return Stored(place, file.config, file.scaling, file.weights, file if file.is_ldm else None)


def _described(place: Path, content: dict[str, Any], tensors: Callable[[], Tensors]) -> Stored:
    config, scaling = from_diffusers_config(content), scaling_of(content)
    paints = False
    if config.decoder is not None:
        found = tensors()
        paints = asymmetric.paints(found)
        config = asymmetric.trimmed(config, found)  # type: ignore[arg-type]
    size = content.get("sample_size")
    return Stored(
        place,
        config,
        scaling,
        partial(_weights, tensors, config),
        sample_size=size if type(size) is int else 0,
        paints=paints,
    )


def _weights(
    tensors: Callable[[], Tensors], config: ModelSettings, expected: Shapes
) -> dict[str, Tensor]:
    found = tensors()
    names = {name: current_name(name) for name in found.shapes}
    if config.decoder is not None:
        is_filler = asymmetric.is_filler(config)  # type: ignore[arg-type]
        names = {old: name for old, name in names.items() if not is_filler(name)}
    return read_state(found, names, expected)


def build_stored(stored: Stored) -> Autoencoder:
    """In eval mode, fp32, on the CPU. Raises UserError for weights that do not fit."""
    with torch.device("meta"):
        model = build_model(stored.config)
    unused = model.training_names()
    expected = {
        name: tuple(value.shape) for name, value in model.state_dict().items() if name not in unused
    }
    weights = stored.weights(expected)
    require_finite(weights, stored.place)
    model.load_state_dict(weights, strict=False, assign=True)
    model.restart_training()
    scaling = stored.scaling or LatentScaling(1.0)
    model.scaling_factor = scaling.scaling_factor
    model.shift_factor = scaling.shift_factor
    model.latents_mean, model.latents_std = scaling.latents_mean, scaling.latents_std
    return model.eval()


def usable_device(name: torch.device | str, key: str = "device=") -> torch.device:
    """Raises UserError for a device on which nothing can be computed here."""
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{key}{name}: torch cannot compute there ({reason}); use cpu, or cuda with a GPU"
        ) from error
    return device
