"""benchmarks/reconstruction.py from end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

SCRIPT = "reconstruction.py"
METRICS = ("psnr", "ssim", "ms_ssim", "lpips_alex")
COLUMNS = {*METRICS, "bpp", "compression_ratio"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/ (a random KL autoencoder, f4), test/ (two photos), train/ (one photo, one broken)."""
    root = tmp_path_factory.mktemp("benchmark")
    for name in ("model", "test", "train", "empty"):
        (root / name).mkdir()
    torch.manual_seed(0)
    config = KLConfig(coder=CoderConfig(channels=(4, 4, 8), num_res_blocks=1, norm_groups=2))
    state = build_model(config).state_dict()
    save_file(state, root / "model" / "diffusion_pytorch_model.safetensors")
    content = to_diffusers_config(config, LatentScaling(), sample_size=64)
    (root / "model" / "config.json").write_text(json.dumps(content))
    (root / "test" / "deep").mkdir()
    Image.fromarray(data.astronaut()[:170, :165]).save(root / "test" / "deep" / "a.png")
    Image.fromarray(data.astronaut()[200:362, 100:263]).save(root / "test" / "b.png")
    Image.fromarray(data.coffee()[:200, :200]).save(root / "train" / "c.png")
    (root / "train" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return root


def test_the_report_of_a_whole_run(
    folders: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(folders)
    (folders / "test" / "void.png").write_bytes(b"")
    arguments = (
        *("--model", "mine=model", "--images", "test", "--train-images", "train"),
        *("--out", "out/table.json", "--weights", "missing", "--metrics", *METRICS),
        *("--jpeg", "10", "50", "--webp", "10"),
    )
    with pytest.raises(SystemExit, match="error: 2 of 5 images were left out"):
        start(SCRIPT, *arguments)
    printed = capsys.readouterr()
    assert sorted(path.name for path in (folders / "out").iterdir()) == ["table.json", "table.png"]
    report = json.loads((folders / "out" / "table.json").read_text())
    assert set(report) == {"protocol", "rows", "commit", "versions", "hardware"}
    assert report["protocol"]["images"] == {"folder": "test", "count": 2}
    assert "file missing" in report["protocol"]["metrics"]["lpips_alex"]
    names = [row["name"] for row in report["rows"]]
    assert names == ["mine", "pca-f4-c4", "jpeg-q10", "jpeg-q50", "webp-q10"]
    for row in report["rows"]:
        assert [image["name"] for image in row["images"]] == ["b.png", "deep/a.png"]
        for values in (row, *row["images"]):
            assert set(values) >= COLUMNS
            assert {key for key in COLUMNS if values[key] is None} == {"lpips_alex"}
            assert "file missing" in values["reasons"]["lpips_alex"]
        mean = sum(image["psnr"] for image in row["images"]) / 2
        assert row["psnr"] == pytest.approx(mean)
        assert row["name"] in printed.out
    assert report["rows"][1]["num_fit_images"] == 1
    assert "left out: test/void.png" in printed.err
    assert "left out: train/broken.png" in printed.err


def test_without_training_images_the_pca_row_says_so(
    folders: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    start(
        SCRIPT,
        *("--model", "model", "--images", "test", "--out", "bare.json", "--metrics", "psnr"),
        *("--jpeg", "--webp", "--limit", "1"),
    )
    rows = {row["name"]: row for row in json.loads((folders / "bare.json").read_text())["rows"]}
    assert list(rows) == ["model", "pca-f4-c4"]
    assert rows["model"]["num_images"] == 1
    missing = rows["pca-f4-c4"]
    columns = {"psnr", "bpp", "compression_ratio"}
    assert {key for key in missing if missing[key] is None} == set(missing["reasons"]) == columns
    assert "--train-images" in rows["pca-f4-c4"]["reasons"]["psnr"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--images": "nowhere"}, "--images=nowhere: no such folder"),
        ({"--images": "empty"}, "--images=empty holds no image"),
        ({"--model": "empty"}, "empty has no config.json"),
        ({"--train-images": "test"}, "are the test images"),
        ({"--out": "table.txt"}, "name a file that ends in .json"),
        ({"--limit": "0"}, "--limit 0"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    folders: Path,
    changed: dict[str, str],
    message: str,
    start: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"--model": "model", "--images": "test", "--out": "bad.json", "--metrics": "psnr"}
    arguments = [part for option in (options | changed).items() for part in option]
    monkeypatch.chdir(folders)
    with pytest.raises(SystemExit) as stop:
        start(SCRIPT, *arguments, "--jpeg", "--webp")
    assert str(stop.value).startswith("error: ") and message in str(stop.value)
    assert not list(folders.glob("*bad*")) and not (folders / "table.txt").exists()
