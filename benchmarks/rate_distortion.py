"""Rate and distortion of our codec beside AVIF, JPEG XL, WebP, JPEG, JPEG 2000 and VVC, by bytes.

python benchmarks/rate_distortion.py --model [NAME=]DIR --images DIR --out DIR

Writes a JSON for each codec, summary.json (BD-rates), curves.png and gallery.png. An interrupted
run goes on where it stopped, from DIR/cache.
"""

import argparse
from collections.abc import Collection
from pathlib import Path

import torch

from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.equal_bytes import equal_bytes_rows
from ldm_ae.bench.image_codecs import use_one_thread
from ldm_ae.bench.model_coder import QUALITIES
from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.rate_distortion import CODECS, measure_all, open_coders, summarise
from ldm_ae.bench.rd_summary import ANCHOR
from ldm_ae.bench.report import write_json
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.viz.gallery import save_gallery


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser, required=False)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="folder; a run goes on in it")
    parser.add_argument("--codecs", nargs="*", choices=list(CODECS), default=list(CODECS))
    parser.add_argument(
        "--anchors", nargs="+", default=[ANCHOR], metavar="NAME", help="BD-rates are against these"
    )
    parser.add_argument("--reuse", type=Path, help="folder of earlier reports of some of these")
    add_panel_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), help="ours")
    parser.add_argument(
        "--qualities-of", nargs="+", action="append", default=[], metavar=("NAME", "QUALITY")
    )
    parser.add_argument("--gallery-bpp", type=float, default=0.15, help="of the equal files")
    parser.add_argument("--gallery-images", type=int, default=3, help="the first N; 0 for none")
    parser.add_argument("--gallery-only", action="store_true", help="no curves, only the gallery")
    parser.add_argument(
        "--no-memory", action="store_true", help="do not start a process per codec to see its peak"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; the others have one")
    reader = Reader()
    with one_line_errors():
        run(parser.parse_args(), reader)
    finish(reader)


def run(arguments: argparse.Namespace, reader: Reader) -> None:
    torch.set_num_threads(arguments.threads)
    use_one_thread()
    out, photos = arguments.out, list_photos(arguments.images, arguments.limit, reader)
    folders = named_folders(arguments.model)
    for name in sorted(set(arguments.anchors) - folders.keys() - CODECS.keys()):
        raise UserError(f"--anchors {name}: neither a --model's name nor a codec")
    own = own_qualities(arguments.qualities_of, folders.keys())
    coders, openers, missing = open_coders(folders, arguments.qualities, arguments.codecs, own)
    if not arguments.gallery_only:
        settings = {"reuse": arguments.reuse, "memory": not arguments.no_memory}
        reports = measure_all(coders, openers, photos, panel_of(arguments), out, **settings)
        for name, reason in missing.items():
            reports[name] = {"codec": name, "reason": reason, "points": []}
            write_json(out / f"{name}.json", reports[name])
            print(f"{name} is left out: {reason}")
        summarise(reports, folders, photos, arguments.anchors, out)
        print(f"\nwritten: {out}/summary.json, curves.png and a JSON for each codec")
    if arguments.gallery_images > 0:
        chosen = photos[: arguments.gallery_images]
        rows = equal_bytes_rows(list(coders.values()), chosen, arguments.gallery_bpp)
        save_gallery(out / "gallery.png", rows)
        print(f"written: {out / 'gallery.png'}")


def own_qualities(given: list[list[str]], models: Collection[str]) -> dict[str, list[int]]:
    """Of models that have their own. Raises UserError for another name, and for no number."""
    found = {}
    for name, *qualities in given:
        if name not in models:
            raise UserError(f"--qualities-of {name}: no --model has that name")
        if not qualities or not all(quality.isdigit() for quality in qualities):
            raise UserError(f"--qualities-of {name} {' '.join(qualities)}: list whole numbers")
        found[name] = [int(quality) for quality in qualities]
    return found


if __name__ == "__main__":
    main()
