"""Reconstruction quality and rate of autoencoders beside PCA, JPEG and WebP.

python benchmarks/reconstruction.py --model DIR --images DIR --out FILE.json --train-images DIR

Prints a table; writes FILE.json (means and per-image values) and FILE.png (the plot).
"""

import argparse
from pathlib import Path

import torch

from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.panel import add_panel_arguments, formats, labels, measured, panel_of
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.reconstruction import (
    JPEG_QUALITIES,
    PROTOCOL,
    WEBP_QUALITIES,
    compare,
    fit_pcas,
    lines_of,
    missing_row,
    plain_codec,
)
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.viz.rd_plots import save_rd_curves


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json; the plot is FILE.png")
    parser.add_argument("--train-images", type=Path, help="folder of images PCA is fitted on")
    add_panel_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first N test images")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--jpeg", type=int, nargs="*", default=JPEG_QUALITIES, metavar="QUALITY")
    parser.add_argument("--webp", type=int, nargs="*", default=WEBP_QUALITIES, metavar="QUALITY")
    reader = Reader()
    with one_line_errors():
        run(parser.parse_args(), reader)
    finish(reader)


def run(arguments: argparse.Namespace, reader: Reader) -> None:
    check(arguments)
    out, device = arguments.out, torch.device(arguments.device)
    photos = list_photos(arguments.images, arguments.limit, reader)
    models = [
        RawLatents(name, load_any(folder, device=device), device)
        for name, folder in named_folders(arguments.model).items()
    ]
    sizes = [(item.model.downsampling_factor, item.model.latent_channels) for item in models]
    pcas, missing = fit_pcas(sizes, arguments.train_images, reader)
    codecs = [plain_codec("jpeg", *arguments.jpeg), plain_codec("webp", *arguments.webp)]
    panel = panel_of(arguments, device)
    rows = compare([*models, *pcas, *codecs], photos, panel)
    absent = [missing_row(name, panel.names, reason) for name, reason in missing.items()]
    rows[len(models) : len(models)] = absent
    protocol = PROTOCOL | {
        "images": {"folder": Path(arguments.images).resolve().name, "count": len(photos)},
        "metrics": panel.protocol(),
    }
    write_json(out, {"protocol": protocol, "rows": rows} | provenance())
    names = measured(rows)
    lines = {label: lines_of(rows, name) for name, label in labels(names).items()}
    save_rd_curves(out.with_suffix(".png"), lines)
    columns = {"name": "s"} | formats(names) | {"bpp": ".4f", "compression_ratio": ".1f"}
    print(format_table(rows, columns))
    print(f"written: {out} and {out.with_suffix('.png')}")


def check(arguments: argparse.Namespace) -> None:
    """Raises UserError for arguments that are wrong whatever the folders hold."""
    out, device, train_images = arguments.out, arguments.device, arguments.train_images
    if out.suffix != ".json" or out.is_dir():
        raise UserError(f"--out {out}: name a file that ends in .json")
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if train_images is not None and train_images.resolve() == Path(arguments.images).resolve():
        raise UserError(f"--train-images {train_images}: are the test images; fit PCA on others")


if __name__ == "__main__":
    main()
