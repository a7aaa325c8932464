"""What an .lae file says of itself; no model is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae.codec.format import container
from ldm_ae.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)


def run(arguments: argparse.Namespace) -> None:
    try:
        data = container.read_file(arguments.file)
        file = container.read(data)
    except UserError as error:
        raise UserError(f"{arguments.file}: {error}") from error
    header = file.header
    lines = {
        "format version": container.VERSION,
        "model": header.digest.hex(),
        "holds": "code indices" if header.indices else "latents",
        "quality": "the model's only one" if header.indices else header.quality,
        "size": f"{header.width}x{header.height}",
        "colour": "grey" if header.grey else "colour",
        "alpha": "no" if file.alpha is None else f"{len(file.alpha)} bytes",
        "payload": f"{len(file.payload)} bytes",
        "file": f"{len(data)} bytes, {len(data) * 8 / (header.width * header.height):.4f} bpp",
    }
    for name, value in lines.items():
        print(f"{name}: {value}")
