import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file
from skimage import data

SMALL = (
    "data.size=32", "model.coder.channels=[8, 8, 8, 8]", "model.coder.norm_groups=2",
    "train.batch_size=2", "data.num_workers=0", "train.device=cpu", "train.precision=fp32",
    "train.kernels=plain", "loss.perceptual.net=embedded", "loss.perceptual_views=false",
    "data.validation_count=1",
)  # fmt: skip


def test_recipes_start_alike_and_are_judged_over_time(
    start: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ldm_ae.bench.head_to_head._TRIAL_STEPS", 4)
    monkeypatch.setattr("ldm_ae.bench.head_to_head._TRIAL_EVERY", 2)
    monkeypatch.setattr("ldm_ae.bench.head_to_head.SHARES", (0.5, 1.0))
    Path("photos").mkdir()
    for index, picture in enumerate((data.astronaut(), data.coffee(), data.rocket())):
        Image.fromarray(picture[:64, :64]).save(f"photos/{index}.png")
    command = ["--train-images", "photos", "--images", "photos", "--out", "out.json"]
    command += ["--net", "embedded", "--recipes", "ours", "ldm", "--seeds", "0", "--limit", "1"]
    command += ["--seconds", "1.5", "--rates", "1e-3", "--rate-seconds", "0.5", "--rate-by", "psnr"]
    command += ["--metrics", "psnr", "ssim", "--", *SMALL]
    start("train_head_to_head.py", *command)
    report = json.loads(Path("out.json").read_text())
    assert [row["recipe"] for row in report["rows"]] == ["ours"] * 2 + ["ldm"] * 2
    assert report["rate"] == 1e-3
    for recipe in ("ours", "ldm"):
        seconds = [row["seconds"] for row in report["rows"] if row["recipe"] == recipe]
        assert seconds == sorted(seconds) and len(set(seconds)) == 2
    assert "| ours |" in Path("out.md").read_text()
    with Image.open("out.png") as curves:
        assert curves.width > 100

    first = load_file("runs/head_to_head/start-0/diffusion_pytorch_model.safetensors")
    kept = "runs/head_to_head/ours-0/at-1/diffusion_pytorch_model.safetensors"
    assert load_file(kept).keys() == first.keys()
    exported = Path("runs/head_to_head/ours-0/export").stat().st_mtime_ns
    start("train_head_to_head.py", *command)
    assert Path("runs/head_to_head/ours-0/export").stat().st_mtime_ns == exported
