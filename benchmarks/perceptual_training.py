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
from typing import Any

from ldm_ae.bench.compare import ModelMethod, measure
from ldm_ae.bench.panel import formats
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.convert.load import load
from ldm_ae.data.images import load_image, to_float
from ldm_ae.data.paths import find_images
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import open_panel

ROOT = Path(__file__).parents[1]
SCRIPT, CONFIG = "scripts/train_kl_ae.py", "kl_f8_small"
OBJECTIVES = {
    "L1": ["loss.perceptual_weight=0", "loss.perceptual.net=none"],
    "L1 + embedded": ["loss.perceptual.net=embedded"],
    "L1 + LPIPS-squeeze": ["loss.perceptual.net=squeeze"],
}


def main() -> None:
    arguments = parse_arguments()
    folders = {name: train(name, arguments) for name in OBJECTIVES}
    networks = Networks(weights={"squeeze": str(arguments.weights)})
    panel = open_panel(["psnr", "ssim", "lpips_squeeze"], networks)
    files = find_images(arguments.images)
    rows = []
    for name, folder in folders.items():
        images = ((path.name, to_float(load_image(path))) for path in files)
        rows.append(measure(ModelMethod(name, load(folder)), images, panel))
    plain, embedded, lpips = (row["lpips_squeeze"] for row in rows)
    closed = (plain - embedded) / (plain - lpips)
    print(format_table(rows, {"name": "s"} | formats(panel.names)))
    print(f"gap closed by the embedded network: {closed:.1%}")
    content: dict[str, Any] = {
        "protocol": {
            "training": f"{CONFIG}, {arguments.steps} steps, same seed, crops and order",
            "metric": "LPIPS-squeeze on whole test images, mode of the posterior, averaged weights",
            "num_images": len(files),
        },
        "gap_closed": closed,
        "rows": [{key: value for key, value in row.items() if key != "images"} for row in rows],
    }
    write_json(arguments.out, content | provenance())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-images", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="test images")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet 1.1 features")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/perceptual_training"))
    parser.add_argument("--steps", type=int, default=200)
    return parser.parse_args()


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
    command = [sys.executable, str(ROOT / SCRIPT), "--config", CONFIG, *overrides]
    if subprocess.run(command).returncode:
        sys.exit(f"error: the training {name!r} failed")
    return run_dir / "export"


if __name__ == "__main__":
    main()
