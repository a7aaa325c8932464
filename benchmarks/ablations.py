"""The same short training with one thing changed, judged by the panel.

python benchmarks/ablations.py --set benchmarks/ablations/losses.yaml --train-images DIR \
    --images DIR --weights DIR --out benchmarks/results/ablations/losses.json

A set names a config, overrides that all of its variants have, and those of each variant. A
stopped script goes on where it stopped. Writes FILE.json and FILE.md, a page with the table.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldm_ae import config
from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.panel import add_panel_arguments, formats, measured, panel_of
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.rd_summary import independent_first, trained_on
from ldm_ae.bench.report import markdown_table, provenance, write_json
from ldm_ae.bench.short_training import trained
from ldm_ae.convert.load import load
from ldm_ae.data.reading import Reader
from ldm_ae.files import replacing
from ldm_ae.metrics.table import METRICS


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--set", type=Path, required=True, help="FILE.yaml")
    parser.add_argument("--train-images", type=Path, required=True)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="only the first N images")
    add_panel_arguments(parser)
    reader = Reader()
    with one_line_errors():
        run(parser.parse_args(), reader)
    finish(reader)


def run(arguments: argparse.Namespace, reader: Reader) -> None:
    ablation = config.read_yaml(arguments.set)
    photos = list_photos(arguments.images, arguments.limit, reader)
    panel = panel_of(arguments)
    rows, training = [], {}
    for name, changed in ablation["variants"].items():
        for seed in arguments.seeds:
            overrides = [*ablation["overrides"], *changed, f"train.seed={seed}"]
            folder = train(arguments, ablation["config"], f"{name} {seed}", overrides)
            report = measure_coder(RawLatents(name, load(folder)), photos, panel)
            rows.append({"name": name, "seed": seed} | report["points"][0])
            training[f"{name} {seed}"] = trained_on(folder)
            write(arguments, ablation, rows, training)


def train(arguments: argparse.Namespace, base: str, name: str, overrides: list[str]) -> Path:
    """The export of one training; one that is there is taken."""
    run_dir = arguments.runs / arguments.set.stem / re.sub(r"\W+", "_", name.lower())
    places = [
        f"train.steps={arguments.steps}",
        f"train.validate_every={arguments.steps}",
        f"data.path={arguments.train_images}",
    ]
    if arguments.weights:
        places.append(f"loss.perceptual.weights={arguments.weights}")
    return trained(name, base, run_dir, [*places, *overrides])


def write(
    arguments: argparse.Namespace,
    ablation: Mapping[str, Any],
    rows: list[dict[str, Any]],
    training: Mapping[str, Any],
) -> None:
    protocol = {
        "training": f"{ablation['config']}, {arguments.steps} steps; same crops and order",
        "metrics": "whole test images, the posterior's mode, averaged weights",
        "trained_on": training,
    }
    write_json(
        arguments.out, {"protocol": protocol, "set": dict(ablation), "rows": rows} | provenance()
    )
    names = independent_first(measured(rows), training)
    trained = {name for found in training.values() for name in found or ()}
    heads = {name: METRICS[name].label + (" *" if name in trained else "") for name in names}
    shown = [
        {"variant": row["name"], "seed": row["seed"]} | {heads[name]: row[name] for name in names}
        for row in rows
    ]
    columns = {heads[name]: form for name, form in formats(names).items()}
    table = markdown_table(shown, {"variant": "s", "seed": "d"} | columns)
    print(table)
    with replacing(arguments.out.with_suffix(".md")) as aside:
        aside.write_text(
            f"# {arguments.set.stem}\n\n{protocol['training']}. * trains some of them.\n\n{table}\n"
        )


if __name__ == "__main__":
    main()
