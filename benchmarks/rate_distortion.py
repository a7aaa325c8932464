"""Rate and distortion of our codec beside AVIF, JPEG XL, WebP, JPEG and JPEG 2000, by bytes.

python benchmarks/rate_distortion.py --model [NAME=]DIR --images DIR --out DIR

Writes a JSON for each codec, summary.json (BD-rates), curves.png and gallery.png. An interrupted
run goes on where it stopped, from DIR/cache.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from equal_bytes import equal_bytes_rows
from model_coder import QUALITIES, ModelCoder, open_models
from tqdm import tqdm

from ldm_ae.bench.image_codecs import TUNED, use_one_thread, why_missing
from ldm_ae.bench.panel import add_panel_arguments, formats, labels, measured, panel_of
from ldm_ae.bench.peak_memory import peak_memory
from ldm_ae.bench.published import published_for
from ldm_ae.bench.rate_distortion import Coder, PillowCoder
from ldm_ae.bench.rd_run import (
    Photo,
    list_photos,
    measure_coder,
    why_not_reusable,
)
from ldm_ae.bench.rd_summary import ANCHOR, bd_rate_column, bd_rates, curve, table_rows
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.metrics.panel import Panel
from ldm_ae.viz.gallery import save_gallery
from ldm_ae.viz.rd_plots import Line, save_rd_curves

Opener = Callable[[], Coder]

PROTOCOL = {
    "size": "native",
    "rate": "8 times the bytes of the file, header included, over the pixels of the image",
    "scores": "against uint8 RGB, decoded to uint8 RGB; a mean is the plain mean over images, at "
    "one setting for all images",
    "times": "of one image in memory; *_cpu_seconds is processor time of the process, which other "
    "load on the machine does not lengthen",
    "bd_rate": "per cent of rate against the anchor at equal metric: PCHIP of the log of the rate "
    "over the metric as it is (not in dB but for PSNR), over the common range; points that a "
    "cheaper one of the same codec equals or beats are left out; of a codec with several settings, "
    "the upper envelope for that metric",
}


def main() -> None:
    try:
        run(parse_arguments())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="a folder with a model and its prior; may be repeated",
    )
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="folder; a run goes on in it")
    parser.add_argument("--codecs", nargs="*", choices=list(TUNED), default=list(TUNED))
    parser.add_argument(
        "--anchors", nargs="+", default=[ANCHOR], metavar="NAME", help="BD-rates are against these"
    )
    parser.add_argument("--reuse", type=Path, help="folder of earlier reports of these codecs")
    add_panel_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), help="ours")
    parser.add_argument("--gallery-bpp", type=float, default=0.15, help="of the equal files")
    parser.add_argument("--gallery-images", type=int, default=3, help="the first N; 0 for none")
    parser.add_argument("--gallery-only", action="store_true", help="no curves, only the gallery")
    parser.add_argument(
        "--no-memory", action="store_true", help="do not start a process per codec to see its peak"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; the others have one")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Raises ValueError or OSError for input that cannot be used."""
    torch.set_num_threads(arguments.threads)
    use_one_thread()
    photos = list_photos(arguments.images, arguments.limit)
    folders = open_models(arguments.model)
    require_names(folders, arguments.anchors)
    openers: dict[str, Opener] = {
        name: partial(ModelCoder, name, folder, arguments.qualities)
        for name, folder in folders.items()
    }
    coders: dict[str, Coder] = {name: opener() for name, opener in openers.items()}
    missing = {name: why_missing(name) for name in arguments.codecs}
    for name in (name for name, reason in missing.items() if reason is None):
        openers[name] = partial(PillowCoder, name)
        coders[name] = openers[name]()
    if not coders:
        raise ValueError("nothing to measure: no --model, and none of the --codecs can be had here")
    if not arguments.gallery_only:
        panel = panel_of(arguments)
        reports = measure_all(arguments, photos, panel, coders, openers)
        for name, reason in missing.items():
            if reason is not None:
                reports[name] = {"codec": name, "reason": reason, "points": []}
                write_json(arguments.out / f"{name}.json", reports[name])
        summarise(arguments, photos, reports, list(folders))
    if arguments.gallery_images > 0:
        chosen = photos[: arguments.gallery_images]
        models = [coders[name] for name in folders]
        rows = equal_bytes_rows(models, arguments.codecs, chosen, arguments.gallery_bpp)
        save_gallery(arguments.out / "gallery.png", rows)
        print(f"written: {arguments.out / 'gallery.png'}")


def require_names(folders: Mapping[str, Path], anchors: Sequence[str]) -> None:
    """Raise ValueError for a model that is named as a codec, and an anchor that is neither."""
    for name in sorted(folders.keys() & set(TUNED)):
        raise ValueError(
            f"--model {name}={folders[name]}: {name} is a codec's name; say"
            f" --model OTHER_NAME={folders[name]}"
        )
    for name in sorted(set(anchors) - folders.keys() - set(TUNED)):
        raise ValueError(f"--anchors {name}: neither a --model's name nor a codec")


def measure_all(
    arguments: argparse.Namespace,
    photos: list[Photo],
    panel: Panel,
    coders: Mapping[str, Coder],
    openers: Mapping[str, Opener],
) -> dict[str, dict[str, Any]]:
    """Reports by codec, each written as soon as it is whole."""
    reports = {
        name: find_earlier(arguments.reuse, coder, photos, panel) for name, coder in coders.items()
    }
    total = sum(len(coders[name].points) for name, found in reports.items() if found is None)
    with tqdm(total=total * len(photos), unit="file", desc="measure") as progress:
        for name, found in reports.items():
            if found is not None:
                write_json(arguments.out / f"{name}.json", found)
                continue
            coder = coders[name]
            progress.set_postfix_str(name)
            cache = arguments.out / "cache"
            report = measure_coder(coder, photos, panel, cache, progress.update)
            middle, pixels = coder.points[len(coder.points) // 2], photos[0].pixels()
            if not arguments.no_memory:
                report["peak_memory"] = peak_memory(openers[name], pixels, middle)
            if isinstance(coder, ModelCoder):
                report["cost"] = coder.cost(pixels, middle)
            reports[name] = report | {"protocol": PROTOCOL} | provenance()
            write_json(arguments.out / f"{name}.json", reports[name])
    return {name: report for name, report in reports.items() if report is not None}


def summarise(
    arguments: argparse.Namespace,
    photos: list[Photo],
    reports: Mapping[str, Mapping[str, Any]],
    models: list[str],
) -> None:
    """Print the tables; write summary.json and curves.png."""
    published = published_for([photo.name for photo in photos])
    shown = {name: report for name, report in reports.items() if report["points"]}
    metrics = measured([point for report in shown.values() for point in report["points"]])
    panels = {
        label: [
            *(
                Line(n, curve(r, m), "ours" if n in models else "measured")
                for n, r in shown.items()
            ),
            *(Line(c.name, c.points[m], "published") for c in published if m in c.points),
        ]
        for m, label in labels(metrics).items()
    }
    save_rd_curves(arguments.out / "curves.png", panels)
    summary = {
        "images": {"count": len(photos), "names": [photo.name for photo in photos]},
        "bd_rate_percent_against": {
            anchor: bd_rates(shown, published, anchor) for anchor in arguments.anchors
        },
        "published": [asdict(item) for item in published],
        "cost": {name: reports[name].get("cost") for name in models},
        "protocol": PROTOCOL,
    }
    write_json(arguments.out / "summary.json", summary | provenance())
    for metric, label in labels(metrics).items():
        rows = table_rows(shown, metric, arguments.anchors)
        columns = dict.fromkeys(rows[0], formats(metrics)[metric])
        columns |= {"name": "s"} | {bd_rate_column(name): ".1f" for name in arguments.anchors}
        print(f"\n{label}\n" + format_table(rows, columns))
    print(f"\nwritten: {arguments.out}/summary.json, curves.png and a JSON for each codec")


def find_earlier(
    folder: Path | None, coder: Coder, photos: list[Photo], panel: Panel
) -> dict[str, Any] | None:
    """A report of this codec in `folder` that can be used as it is."""
    path = None if folder is None else folder / f"{coder.name}.json"
    if isinstance(coder, ModelCoder) or path is None or not path.is_file():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    reason = "it could not be had there" if "reason" in report else None
    reason = reason or why_not_reusable(report, coder, photos, panel)
    if reason is not None:
        print(f"{path} is not reused: {reason}", file=sys.stderr)
        return None
    return report


if __name__ == "__main__":
    main()
