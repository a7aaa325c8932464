"""benchmarks/input_stall.py from end to end on a tiny model, as a user starts it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "input_stall.py"
TINY = (
    "model={kind: kl, latent_channels: 2, coder: {channels: [8, 8], num_res_blocks: 1,"
    " mid_attention: false, norm_groups: 4}}",
    "loss={perceptual: {net: none}, perceptual_weight: 0}",
    "data.num_workers=0",
    "data.size=16",
    "data.validation_count=0",
    "train.batch_size=2",
    "train.optimizer=adamw",
    "train.precision=fp32",
    "train.kernels=plain",
)


def test_every_source_is_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(12):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    command = [sys.executable, str(SCRIPT), "--images", "photos", "--out", "stall.json"]
    counts = ["--steps", "2", "--warmup", "1"]
    done = subprocess.run(
        [*command, *counts, *TINY], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "stall.json").read_text())
    sources = [(row["source"], row["cache_mb"]) for row in report["rows"]]
    tables = [(kind, cache) for kind in ("folder", "parquet", "tar") for cache in (0, 512)]
    assert sources == [*tables, ("parquet stream", 0), ("tar stream", 0)]
    assert all(0 < row["wait_share"] < 1 for row in report["rows"])
    # Nothing decodes ahead here, so that the wait is what is measured, not a loader at rest.
    assert report["worst"] == max(row["wait_share"] for row in report["rows"]) > 0.001
    assert report["protocol"]["steps"] == 2
