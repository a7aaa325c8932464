"""Score what a model makes of images: every metric that can be had, means over whole images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm_ae import zoo
from ldm_ae.bench.latents import BorrowedLatents, RawLatents
from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.reconstruction import PROTOCOL, compare
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.cli.options import add_model_options, model_options
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Panel
from ldm_ae.metrics.table import METRICS
from ldm_ae.models.base import Autoencoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Beside PCA, JPEG and WebP: benchmarks/reconstruction.py of the repository."
    parser.add_argument(
        "model", help="the folder of a diffusers model or of an export, or one of the package's: kl"
    )
    parser.add_argument("images", help="folder of test images, or: embedded")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument(
        "--latents-of",
        metavar="MODEL",
        help="whose encoder makes the latents, as for a small decoder its teacher's",
    )
    parser.add_argument("--out", type=Path, help="FILE.json for means, values per image, protocol")
    add_panel_arguments(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> None:
    out = arguments.out
    if out is not None and (out.suffix != ".json" or out.is_dir()):
        raise UserError(f"--out {out}: name a file that ends in .json")
    reader = Reader()
    photos = list_photos(arguments.images, arguments.limit, reader)
    options = model_options(arguments)
    model = load_any(arguments.model, **options)
    folder = zoo.folder_of(arguments.model) or Path(arguments.model)
    coder = _coder(folder.resolve().name, model, arguments.latents_of, options["device"])
    panel = panel_of(arguments, options["device"])
    (row,) = compare([coder], photos, panel)
    print(_table(row, panel))
    if out is not None:
        protocol = PROTOCOL | {"metrics": panel.protocol()}
        write_json(out, {"protocol": protocol, "rows": [row]} | provenance())
    reader.finish()


def _coder(name: str, model: Autoencoder, latents_of: str | None, device: Any) -> RawLatents:
    if latents_of is None:
        return RawLatents(name, model, device)
    encoder = load_any(latents_of, device=device)
    return BorrowedLatents(name, model, encoder, device, latents_of=latents_of)


def _table(row: Mapping[str, Any], panel: Panel) -> str:
    """A line for each metric, and the raw rate."""
    lines = {METRICS[name].label: _cell(row, name) for name in panel.names}
    lines["bpp, raw"] = format(row["bpp"], ".4f")
    lines["images"] = str(row["num_images"])
    width = max(map(len, lines))
    return "\n".join(f"{label:<{width}}  {value}" for label, value in lines.items())


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    return f"null: {row['reasons'][name]}" if value is None else format(value, METRICS[name].format)
