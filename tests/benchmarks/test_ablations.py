import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from skimage import data

SET = """\
config: quickstart
overrides: [data.size=32, "model.coder.channels=[8, 8, 8, 8]", model.coder.norm_groups=2,
    train.batch_size=2, train.warmup_steps=1, data.num_workers=0, data.kind=folder,
    data.validation_count=1, train.device=cpu, train.precision=fp32, train.kernels=plain]
variants:
  L1: [loss.perceptual.net=none, loss.perceptual_weight=0]
  L1 + embedded: []
"""


def test_each_variant_is_trained_once_and_what_trained_it_is_marked(
    start: Callable[..., None], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(SET)
    Path("photos").mkdir()
    for index, picture in enumerate((data.astronaut(), data.coffee(), data.rocket())):
        Image.fromarray(picture[:64, :64]).save(f"photos/{index}.png")
    command = ["--set", "tiny.yaml", "--train-images", "photos", "--images", "photos", "--out"]
    command += ["out.json", "--steps", "2", "--metrics", "embedded", "psnr"]
    start("ablations.py", *command)
    report = json.loads(Path("out.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["L1", "L1 + embedded"]
    page = Path("out.md").read_text()
    assert "| variant | seed | PSNR, dB |" in page.splitlines()[4]
    assert page.splitlines()[4].rstrip(" |").endswith("*")

    exports = sorted(Path("runs/ablations/tiny").glob("*/export"))
    assert len(exports) == 2
    times = [path.stat().st_mtime_ns for path in exports]
    start("ablations.py", *command)
    assert [path.stat().st_mtime_ns for path in exports] == times
