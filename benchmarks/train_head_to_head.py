"""Our default recipe beside latent diffusion's and beside diffusers' script, at equal time.

python benchmarks/train_head_to_head.py --train-images DIR --images DIR --weights DIR \
    --out benchmarks/results/head_to_head.json

One network (a config's), the same initial weights and crops, the same wall clock. `ldm` is the
recipe of Rombach et al. in plain PyTorch, on the same perceptual network, its learning rate chosen
first; `script` has the defaults of diffusers' train_autoencoderkl.py. Goes on where it stopped;
run it with the machine for itself. Writes FILE.json, FILE.md and FILE.png, curves over time.
"""

import argparse
from pathlib import Path
from typing import Any

from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.head_to_head import Contest, summary, train_ours, train_plainly
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.panel import add_panel_arguments, formats, labels, measured, panel_of
from ldm_ae.bench.photos import Photo, list_photos
from ldm_ae.bench.plain_training import ldm_recipe, script_recipe
from ldm_ae.bench.report import markdown_table, provenance, write_json
from ldm_ae.convert.load import load
from ldm_ae.data.reading import Reader
from ldm_ae.files import replacing
from ldm_ae.metrics.panel import Panel
from ldm_ae.metrics.table import METRICS
from ldm_ae.viz.over_time import save_over_time


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--train-images", required=True)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--runs", type=Path, default=Path("runs/head_to_head"))
    parser.add_argument("--config", default="kl_f8_small")
    parser.add_argument("--net", default="squeeze", help="the perceptual network of both")
    parser.add_argument("--seconds", type=float, default=3600, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--rate-seconds", type=float, default=300, help="of each rate's trial")
    parser.add_argument("--rate-by", default="lpips_vgg", help="the metric that chooses the rate")
    parser.add_argument("--recipes", nargs="+", default=["ours", "ldm", "script"])
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("overrides", nargs="*", metavar="data.key=value", help="for all of them")
    add_panel_arguments(parser)
    reader = Reader()
    with one_line_errors():
        run(parser.parse_intermixed_args(), reader)
    finish(reader)


def run(arguments: argparse.Namespace, reader: Reader) -> None:
    photos, panel = list_photos(arguments.images, arguments.limit, reader), panel_of(arguments)
    overrides = (f"data.path={arguments.train_images}", *arguments.overrides)
    weights, runs = arguments.weights, arguments.runs
    contest = Contest(arguments.config, overrides, weights, runs, arguments.seconds)
    report: dict[str, Any] = {"protocol": protocol(arguments, photos, panel), "rows": []}
    rate = None
    if "ldm" in arguments.recipes:
        trial = Contest(
            arguments.config, overrides, weights, runs / "rates", arguments.rate_seconds
        )
        report["rates"] = rates_tried(arguments, trial, photos, panel)
        report["rate"] = rate = best_rate(report["rates"], arguments.rate_by)
    for seed in arguments.seeds:
        for recipe in arguments.recipes:
            if recipe == "ours":
                rows = train_ours(contest, recipe, seed)
            elif recipe == "ldm" and rate is not None:
                chosen = ldm_recipe(rate)
                rows = train_plainly(contest, chosen, recipe, seed, arguments.net, bf16=True)
            else:
                rows = train_plainly(contest, script_recipe(), recipe, seed, "vgg", bf16=False)
            report["rows"] += [judged(row, photos, panel) for row in rows]
            write(arguments.out, report)


def protocol(arguments: argparse.Namespace, photos: list[Photo], panel: Panel) -> dict[str, Any]:
    return {
        "config": arguments.config,
        "overrides": arguments.overrides,
        "seconds": arguments.seconds,
        "trained_on": {"ours": arguments.net, "ldm": arguments.net, "script": "no network"},
        "images": [photo.name for photo in photos],
        "metrics": panel.protocol(),
        "reconstruction": "mode of the posterior; ours with averaged weights",
    }


def best_rate(tried: list[dict[str, Any]], metric: str) -> float:
    sign = -1 if METRICS[metric].higher_is_better else 1
    rate: float = min(tried, key=lambda row: sign * row[metric])["rate"]
    return rate


def rates_tried(
    arguments: argparse.Namespace, trial: Contest, photos: list[Photo], panel: Panel
) -> list[dict[str, Any]]:
    """A short training for each learning rate, each judged at its end."""
    found = []
    for rate in arguments.rates:
        name = f"ldm-{rate:g}"
        last = train_plainly(trial, ldm_recipe(rate), name, 0, arguments.net, bf16=True)[-1]
        found.append({"rate": rate} | judged(last, photos, panel))
    return found


def judged(row: dict[str, Any], photos: list[Photo], panel: Panel) -> dict[str, Any]:
    coder = RawLatents(row["recipe"], load(row["folder"]))
    scores = measure_coder(coder, photos, panel)["points"][0]
    kept = {name: value for name, value in row.items() if name != "folder"}
    return kept | {name: scores[name] for name in panel.names}


def write(path: Path, report: dict[str, Any]) -> None:
    rows = report["rows"]
    report["summary"] = summary(rows, "ldm")
    write_json(path, report | provenance())
    names = measured(rows)
    columns = {"recipe": "s", "num_seeds": "d"} | formats(names) | {"images_per_second": ".1f"}
    table = markdown_table(report["summary"], columns)
    print(table, flush=True)
    with replacing(path.with_suffix(".md")) as aside:
        aside.write_text(f"# Head to head\n\n{table}\n", encoding="utf-8")
    trainings = sorted({(row["recipe"], row["seed"]) for row in rows})
    panels: dict[str, dict[str, list[list[tuple[float, float]]]]] = {}
    for name, label in labels(names).items():
        lines = panels.setdefault(label, {})
        for recipe, seed in trainings:
            points = [
                (row["seconds"], row[name])
                for row in rows
                if (row["recipe"], row["seed"]) == (recipe, seed)
            ]
            lines.setdefault(recipe, []).append(points)
    save_over_time(path.with_suffix(".png"), panels)


if __name__ == "__main__":
    main()
