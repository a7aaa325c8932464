"""Where a model lies, by the names that it may be called by, and which of its files are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ldm_ae import hub, zoo
from ldm_ae.convert.tensors import Tensors, in_pickle, in_safetensors
from ldm_ae.digests import verify
from ldm_ae.errors import UserError
from ldm_ae.json_file import read_json

STEM = "diffusion_pytorch_model"
SUBFOLDERS = ("vae", "vqvae", "movq")
CONFIG = "config.json"
_FILE = re.compile(
    rf"{STEM}(?:\.(\w+))?\.(?:safetensors|bin)|{STEM}\.safetensors\.index(?:\.(\w+))?\.json"
)


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
        made = folder / "export"
        hint = f"; {made} is one" if (made / "config.json").is_file() else ""
        raise UserError(
            f"{folder} has no config.json: give the folder of an export or of a diffusers model"
            + hint
        )
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a model's or a pipeline's folder."""
    folder = model_folder(folder, None)
    verify(folder, ["config.json"])
    return read_json(folder / "config.json")


def file_tensors(path: Path) -> Tensors:
    """The tensors of one file, by what its name ends in."""
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


def folder_tensors(folder: Path, variant: str | None) -> Tensors:
    """The tensors of a folder: whole, in shards, or in a `.bin`, of the variant that is asked for.

    Raises UserError where there are none of it."""
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
