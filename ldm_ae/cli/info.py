"""What an .lae file, a model or a training run says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm_ae import zoo
from ldm_ae.codec.format import container
from ldm_ae.errors import UserError
from ldm_ae.files import printable

RUN = "config.yaml"  # of a training run's folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", help="an .lae file, a model's folder, one of the package's by name, or a run_dir"
    )


def run(arguments: argparse.Namespace) -> None:
    embedded = zoo.folder_of(arguments.what)
    path = embedded or Path(arguments.what)
    if not path.is_dir():
        lines = of_file(path)
    elif embedded is not None:
        lines = {"model of the package": path.name} | of_model(path)
    elif (path / "config.json").is_file():
        lines = of_model(path)
    elif (path / RUN).is_file():
        lines = of_run(path)
    elif any(path.glob("*.lae")):
        raise UserError(f"{path} is a folder of .lae files: name one of them")
    else:
        lines = of_model(path)
    for name, value in lines.items():
        print(f"{name}: {value}")


def of_file(path: Path) -> dict[str, object]:
    try:
        data = container.read_file(path)
        file = container.read(data)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    header = file.header
    return {
        "format version": container.VERSION,
        "model": zoo.named(header.digest),
        "holds": "code indices" if header.indices else "latents",
        "quality": "the model's only one" if header.indices else header.quality,
        "size": f"{header.width}x{header.height}",
        "colour": "grey" if header.grey else "colour",
        "alpha": "no" if file.alpha is None else f"{len(file.alpha)} bytes",
        "payload": f"{len(file.payload)} bytes",
        "file": f"{len(data)} bytes, {len(data) * 8 / (header.width * header.height):.4f} bpp",
    }


def of_model(path: Path) -> dict[str, object]:
    """From its config alone: no weights are read."""
    # torch takes seconds to import, and a file's header needs none of this.
    from ldm_ae.codec.priors.file import PRIOR_FILE
    from ldm_ae.convert.diffusers_config import from_diffusers_config, scaling_of
    from ldm_ae.convert.places import read_config

    content = read_config(path)
    model, scaling = from_diffusers_config(content), scaling_of(content)
    codebook = model.codebook
    return {
        "class": printable(str(content.get("_class_name"))),
        "kind": model.kind,
        "downsampling factor": model.downsampling_factor,
        "latent channels": model.latent_channels,
        "codes": "none" if codebook is None else codebook.num_codes,
        "channels by level": ", ".join(map(str, model.widths)),
        "decoder's channels by level": ", ".join(map(str, model.decoder_widths)),
        "scaling factor": scaling.scaling_factor,
        "shift factor": scaling.shift_factor or 0.0,
        "codec's prior": "yes" if (path / PRIOR_FILE).is_file() else "no: see ldm-ae calibrate",
    }


def of_run(path: Path) -> dict[str, object]:
    """A training run: how far it is, and what trains. Raises UserError for another config.yaml, as
    it lies beside LDM's checkpoints."""
    from ldm_ae import config

    content = config.read_yaml(path / RUN)
    train, model, denoiser = content.get("train"), content.get("model"), "denoiser" in content
    if not (isinstance(train, dict) and isinstance(model, str if denoiser else dict)):
        raise UserError(f"{path / RUN} is not that of a training run: name the run's folder")
    steps = sorted(
        int(folder.name.removeprefix("step-"))
        for folder in path.glob("checkpoints/step-*")
        if folder.name.removeprefix("step-").isdigit()
    )
    made = path / ("pipeline" if denoiser else "export")
    subject = _of_denoiser(content) if denoiser else _of_autoencoder(content)
    return subject | {
        "steps": f"{steps[-1] if steps else 0} of {train.get('steps')}",
        "checkpoints": ", ".join(map(str, steps)) or "none",
        "precision": train.get("precision"),
        made.name: made if made.is_dir() else "none yet",
    }


def _of_autoencoder(content: Mapping[str, Any]) -> dict[str, object]:
    data = content.get("data") or {}
    kind, place = data.get("kind", "folder"), data.get("path") or data.get("name")
    return {"kind": content["model"].get("kind"), "data": f"{kind} {place or ''}".rstrip()}


def _of_denoiser(content: Mapping[str, Any]) -> dict[str, object]:
    return {"kind": "denoiser", "latents": content.get("store"), "of model": content.get("model")}
