"""Opens an export, or any diffusers AutoencoderKL or VQModel folder, without diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ldm_ae import hub, zoo
from ldm_ae.convert.diffusers_config import from_diffusers_config, scaling_of
from ldm_ae.convert.weights import current_name, current_shape
from ldm_ae.digests import verify
from ldm_ae.errors import UserError
from ldm_ae.json_file import read_json
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.fast import make_fast
from ldm_ae.weights_file import read_pickled, require_finite

STEM = "diffusion_pytorch_model"
SUBFOLDERS = ("vae", "vqvae", "movq")
_SHOWN = 5

Shapes = dict[str, tuple[int, ...]]


def load(
    folder: str | Path,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    device: torch.device | str = "cpu",
    precision: Literal["fp32", "fast"] = "fp32",
) -> Autoencoder:
    """The autoencoder in a folder, in eval mode, with fp32 weights.

    folder: a model of the package by name (`kl`, `kl-1`; a folder of such a name is `./kl`), or
        `config.json` beside `diffusion_pytorch_model.safetensors` (whole, or in shards with
        an index; a `.bin` is read only where there is neither, and only its tensors), or a whole
        pipeline's folder, whose `vae`, `vqvae` or `movq` is then taken; or, on the hub,
        `hub:owner/model` or `hub:owner/model/folder`: nothing else makes it ask the network.
    subfolder: of a pipeline's folder, to choose. variant: `fp16` takes the files of that name.

    An AutoencoderKL becomes a KLAutoencoder (an exported plain autoencoder too: its posterior has
    log sigma^2 = -30), a VQModel a DiscreteAutoencoder that chooses the nearest code, whatever
    codebook was exported. `.scaling_factor` is what a pipeline multiplies latents by; `encode` and
    `decode` work on unscaled ones; `.latents_mean` and `.latents_std` are an export's statistics
    per channel, or None. The output is the diffusers class' own, in fp32.

    precision: `fast`, on a CPU, is for use without exactness: `.precision` of the model says what
        was taken, images differ by less than half an 8-bit level in the mean, indices may differ,
        and a codec does not take such a model.

    Raises UserError for a missing or broken file, a device that is not there, a class or setting
    that is not supported, and weights whose names or shapes do not fit the config, before memory
    is taken for them.
    """
    device = usable_device(device)
    if precision not in ("fp32", "fast"):
        raise UserError(f"precision={precision!r}: use fp32 or fast")
    if precision == "fast" and device.type != "cpu":
        raise UserError(
            f"precision=fast with device={device} is for CPUs: leave it out, and call the model"
            " under torch.autocast"
        )
    folder = model_folder(folder, subfolder)
    content = read_config(folder)
    config, scaling = from_diffusers_config(content), scaling_of(content)
    with torch.device("meta"):
        model = build_model(config)
    unused = model.training_names()
    expected = {
        name: tuple(value.shape) for name, value in model.state_dict().items() if name not in unused
    }
    weights = _read_weights(folder, variant, expected)
    require_finite(weights, folder)
    model.load_state_dict(weights, strict=False, assign=True)
    model.restart_training()
    model.scaling_factor = scaling.scaling_factor
    model.shift_factor = scaling.shift_factor
    model.latents_mean, model.latents_std = scaling.latents_mean, scaling.latents_std
    if precision == "fast":
        make_fast(model)
    return model.eval().to(device)


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
    """Where the files are that `load` reads. Raises UserError if there are none."""
    embedded = zoo.folder_of(folder)
    if embedded is not None:
        return embedded
    folder = hub.download(folder, SUBFOLDERS) if hub.is_hub_name(folder) else Path(folder)
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


def _read_weights(folder: Path, variant: str | None, expected: Shapes) -> dict[str, Tensor]:
    infix = f".{variant}" if variant else ""
    whole = folder / f"{STEM}{infix}.safetensors"
    index = folder / f"{STEM}.safetensors.index{infix}.json"
    pickled = folder / f"{STEM}{infix}.bin"
    if whole.is_file():
        return _read_safetensors([whole], folder, expected)
    if index.is_file():
        verify(folder, [index.name])
        return _read_safetensors(_shards(index), folder, expected)
    if pickled.is_file():
        verify(folder, [pickled.name])
        return _read_pickled(pickled, expected)
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


def _read_safetensors(files: list[Path], folder: Path, expected: Shapes) -> dict[str, Tensor]:
    """Check the headers of all files against `expected`, then read."""
    shapes: Shapes = {}
    state: dict[str, Tensor] = {}
    verify(folder, [path.name for path in files])
    try:
        for path in files:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118, it is no mapping
                    shapes[name] = tuple(opened.get_slice(name).get_shape())
        _check(folder, shapes, expected)
        for path in files:
            with safe_open(path, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    state[current_name(name)] = _current(folder, name, opened.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder} has a broken safetensors file: {error}") from error
    return state


def _read_pickled(path: Path, expected: Shapes) -> dict[str, Tensor]:
    stored = read_pickled(path)
    _check(path, {name: tuple(value.shape) for name, value in stored.items()}, expected)
    return {current_name(name): _current(path, name, value) for name, value in stored.items()}


def _current(source: Path, name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        raise UserError(f"{source}: {name} is {value.dtype}; quantised weights are not supported")
    shape = current_shape(current_name(name), tuple(value.shape))
    return value.to(torch.float32).reshape(shape)


def _check(source: Path, stored: Shapes, expected: Shapes) -> None:
    """UserError that lists missing and unexpected names and wrong shapes."""
    shapes = {
        current_name(name): current_shape(current_name(name), shape)
        for name, shape in stored.items()
    }
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in expected]
    if len(shapes) < len(stored):
        unexpected.append("old and new names of the same parameter")
    wrong = [
        f"{name} {shapes[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", wrong))
        if names
    ]
    if problems:
        listed = "; ".join(problems)
        raise UserError(f"the weights of {source} do not fit its config.json: {listed}")
