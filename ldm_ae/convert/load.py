"""Opens an export, a diffusers AutoencoderKL or VQModel, or one of LDM's, without diffusers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ldm_ae import hub, zoo
from ldm_ae.convert import asymmetric, single_file
from ldm_ae.convert.diffusers_config import LatentScaling, from_diffusers_config, scaling_of
from ldm_ae.convert.tensors import Shapes, Tensors, in_pickle, in_safetensors, read_state
from ldm_ae.convert.weights import current_name
from ldm_ae.digests import verify
from ldm_ae.errors import UserError
from ldm_ae.json_file import read_json
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.fast import make_fast
from ldm_ae.models.settings import ModelSettings
from ldm_ae.weights_file import require_finite

STEM = "diffusion_pytorch_model"
SUBFOLDERS = ("vae", "vqvae", "movq")
CONFIG = "config.json"
_FILE = re.compile(
    rf"{STEM}(?:\.(\w+))?\.(?:safetensors|bin)|{STEM}\.safetensors\.index(?:\.(\w+))?\.json"
)


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
    """The autoencoder in a folder or file, in eval mode, with fp32 weights.

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

    precision: `fast` is for use without exactness: `.precision` of the model says what
        was taken, images differ by less than half an 8-bit level in the mean, indices may differ,
        and a codec does not take such a model. On a CPU the process keeps freed memory from then
        on.

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
        return _described(place, read_config(place), partial(_folder_tensors, place, variant))
    if place.name.startswith(STEM) and place.with_name(CONFIG).is_file():
        return _described(place, read_config(place.parent), partial(_file_tensors, place))
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


def model_folder(folder: str | Path, subfolder: str | None) -> Path:
    """The folder that `load` reads. Raises UserError if there is none."""
    place = model_place(folder, subfolder)
    if place.is_file():
        raise UserError(
            f"{place} is one file, and this takes a folder: make it one by `ldm-ae convert`"
        )
    return place


def model_place(source: str | Path, subfolder: str | None = None) -> Path:
    """The folder or file that `load` reads. Raises UserError if there is none."""
    embedded = zoo.folder_of(source)
    if embedded is not None:
        return embedded
    folder = hub.download(source, SUBFOLDERS) if hub.is_hub_name(source) else Path(source)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        names = f", or one of {', '.join(sorted(zoo.names()))}, which the package has"
        raise UserError(
            f"{folder} has no config.json, for it is no folder here: check its path, or name"
            f" hub:owner/model on the hub{names if zoo.names() else ''}"
        )
    if subfolder is not None:
        folder = folder / subfolder
    elif (folder / "model_index.json").is_file():
        found = [folder / name for name in SUBFOLDERS if (folder / name / "config.json").is_file()]
        if not found:
            raise UserError(
                f"{folder} is a pipeline with none of {', '.join(SUBFOLDERS)}: name the"
                " autoencoder's folder with subfolder=..."
            )
        folder = found[0]
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} has no config.json: give the folder of an export or of a diffusers model"
        )
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a model's or a pipeline's folder."""
    folder = model_folder(folder, None)
    verify(folder, ["config.json"])
    return read_json(folder / "config.json")


def _file_tensors(path: Path) -> Tensors:
    verify(path.parent, [path.name])
    return in_safetensors(path, [path]) if path.suffix == ".safetensors" else in_pickle(path)


def _variant_of(folder: Path) -> str:
    """None of the files' names says a variant, or all say the same one."""
    infixes = {
        match[1] or match[2] or ""
        for match in map(_FILE.fullmatch, (path.name for path in folder.iterdir()))
        if match
    }
    return infixes.pop() if len(infixes) == 1 else ""


def _folder_tensors(folder: Path, variant: str | None) -> Tensors:
    variant = _variant_of(folder) if variant is None else variant
    infix = f".{variant}" if variant else ""
    whole = folder / f"{STEM}{infix}.safetensors"
    index = folder / f"{STEM}.safetensors.index{infix}.json"
    pickled = folder / f"{STEM}{infix}.bin"
    if whole.is_file():
        verify(folder, [whole.name])
        return in_safetensors(folder, [whole])
    if index.is_file():
        verify(folder, [index.name])
        files = _shards(index)
        verify(folder, [path.name for path in files])
        return in_safetensors(folder, files)
    if pickled.is_file():
        verify(folder, [pickled.name])
        return in_pickle(pickled)
    present = sorted(path.name for path in folder.glob(f"{STEM}*"))
    raise UserError(
        f"{folder} has no {whole.name}, {index.name} or {pickled.name}; it holds"
        f" {', '.join(present) or 'no weights'}" + ("; choose with variant=..." if present else "")
    )


def _shards(index: Path) -> list[Path]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise UserError(f"{index} has no weight_map")
    names = sorted({str(name) for name in files.values()})
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise UserError(f"{index} names the shard {name!r}, which is not beside it")
    return [index.parent / name for name in names]
