"""Does the model wait for its data? The share of step time spent waiting for the next batch.

python benchmarks/input_stall.py --images DIR --out benchmarks/results/input_stall.json \
    loss.perceptual.weights=FILE

Trains the small KL model from every source, as `ldm_ae.bench.input_stall` says.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.input_stall import measure, sources
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.config import load
from ldm_ae.data.paths import find_images
from ldm_ae.train.config import Experiment
from ldm_ae.train.kernels import settle_kernels
from ldm_ae.train.precision import settle_precision

CONFIG = "kl_f8_small"
TARGET = 0.05
SHOWN = {
    "source": "s",
    "cache_mb": "d",
    "wait_share": ".2%",
    "first_wait_s": ".2f",
    "model_images_per_s": ".1f",
    "supply_images_per_s": ".1f",
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=4, help="steps that are not counted")
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    arguments = parser.parse_args()
    rows = []
    with one_line_errors(), tempfile.TemporaryDirectory() as scratch:
        folder, photos = arguments.images, find_images(arguments.images)
        overrides = [f"data.path={folder}", f"train.run_dir={scratch}/run", *arguments.overrides]
        experiment, _ = settle_precision(load(Experiment, CONFIG, overrides), None)
        experiment, _ = settle_kernels(experiment, None)
        for name, data in sources(folder, photos, Path(scratch), experiment.data):
            one = replace(experiment, data=data)
            rows.append(measure(name, one, arguments.steps, arguments.warmup))
            print(format_table(rows[-1:], SHOWN), flush=True)
    worst = max(row["wait_share"] for row in rows)
    print(format_table(rows, SHOWN))
    print(f"the longest wait is {worst:.2%} of the step, the target is {TARGET:.0%}")
    protocol = {
        "config": CONFIG,
        "overrides": [o for o in arguments.overrides if "weights" not in o],
        "precision": experiment.train.precision,
        "batch_size": experiment.train.batch_size,
        "size": experiment.data.size,
        "crop": experiment.data.crop,
        "num_workers": experiment.data.num_workers,
        "num_files": len(photos),
        "steps": arguments.steps,
        "steps_before": arguments.warmup,
    }
    content = {"protocol": protocol, "target": TARGET, "worst": worst, "rows": rows}
    write_json(arguments.out, content | provenance())


if __name__ == "__main__":
    main()
