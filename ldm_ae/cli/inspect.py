"""What a model's latent space is like: numbers, pictures, and a page to look at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.cli.options import add_model_options, model_options
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.inspection.inspect import inspect
from ldm_ae.inspection.page import write_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: kl16 photos --beside codec --out card"
    parser.add_argument("model", help="a model's folder, or the name of one of the package's")
    parser.add_argument("images", help="folder of photos that it was not trained on, or: embedded")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--beside", action="append", default=[], metavar="MODEL", help="another; may be repeated"
    )
    parser.add_argument("--limit", type=int, default=16, help="photos at most (%(default)s)")
    parser.add_argument("--side", type=int, default=256, help="of the squares looked at, px")
    add_panel_arguments(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder")
    reader = Reader()
    photos = list_photos(arguments.images, arguments.limit, reader)
    panel, options = panel_of(arguments), model_options(arguments)
    cards: dict[str, Any] = {}
    for model in [arguments.model, *arguments.beside]:
        name = _name(model, cards)
        print(f"looking at {model}", file=sys.stderr, flush=True)
        opened = load_any(model, **options)
        cards[name] = inspect(name, opened, photos, panel, out / name, arguments.side)
    write_json(
        out / "card.json",
        {"images": [photo.name for photo in photos], "models": cards} | provenance(),
    )
    write_page(out / "index.html", cards, out)
    print(out / "index.html")
    reader.finish()


def _name(model: str, taken: dict[str, Any]) -> str:
    """The last part of a model's place, with a number where another has it."""
    base = Path(model).name or "model"
    names = [base, *(f"{base}-{number}" for number in range(2, 100))]
    return next(name for name in names if name not in taken)
