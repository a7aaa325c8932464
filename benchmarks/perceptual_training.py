"""Is the embedded network good enough to train with? The same short training with L1 alone, with
the embedded network and with LPIPS-squeeze, all measured by LPIPS-squeeze.

python benchmarks/perceptual_training.py --train-images DIR --images DIR --weights FILE \
    --out benchmarks/results/perceptual_training.json --runs runs/perceptual_training

gap closed = (L1 - embedded) / (L1 - LPIPS), of LPIPS-squeeze on the test images.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.panel import formats
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.convert.load import load
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import open_panel

CONFIG = "kl_f8_small"
OBJECTIVES = {
    "L1": ["loss.perceptual_weight=0", "loss.perceptual.net=none"],
    "L1 + embedded": ["loss.perceptual.net=embedded"],
    "L1 + LPIPS-squeeze": ["loss.perceptual.net=squeeze"],
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--train-images", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="test images")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet 1.1 features")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/perceptual_training"))
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    networks, rows = Networks(weights={"squeeze": str(arguments.weights)}), []
    panel = open_panel(["psnr", "ssim", "lpips_squeeze"], networks)
    reader = Reader()
    with one_line_errors():
        photos = list_photos(arguments.images, reader=reader)
        folders = {name: train(name, arguments) for name in OBJECTIVES}
        for name, folder in folders.items():
            report = measure_coder(RawLatents(name, load(folder)), photos, panel)
            rows.append({"name": name} | report["points"][0])
    plain, embedded, lpips = (row["lpips_squeeze"] for row in rows)
    closed = (plain - embedded) / (plain - lpips)
    print(format_table(rows, {"name": "s"} | formats(panel.names)))
    print(f"gap closed by the embedded network: {closed:.1%}")
    protocol = {
        "training": f"{CONFIG}, {arguments.steps} steps, same seed, crops and order",
        "metric": "LPIPS-squeeze on whole test images, mode of the posterior, averaged weights",
        "num_images": len(photos),
    }
    content = {"protocol": protocol, "gap_closed": closed, "rows": rows}
    write_json(arguments.out, content | provenance())
    finish(reader)


def train(name: str, arguments: argparse.Namespace) -> Path:
    """The export of one training, always a new one."""
    run_dir = arguments.runs / name.lower().replace(" ", "").replace("+", "_")
    overrides = [
        f"train.run_dir={run_dir}",
        f"train.steps={arguments.steps}",
        f"train.validate_every={arguments.steps}",
        "train.ema_decay=0.98",
        f"data.path={arguments.train_images}",
        *OBJECTIVES[name],
    ]
    if "squeeze" in name:
        overrides.append(f"loss.perceptual.weights={arguments.weights}")
    shutil.rmtree(run_dir, ignore_errors=True)
    command = [sys.executable, "-m", "ldm_ae", "train", "--config", CONFIG, *overrides]
    if subprocess.run(command).returncode:
        raise UserError(f"the training {name!r} failed")
    return run_dir / "export"


if __name__ == "__main__":
    main()
