import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ldm_ae
from ldm_ae import zoo
from ldm_ae.cli.main import main
from ldm_ae.data.images import load_image, to_float, to_uint8
from ldm_ae.metrics.distortion import psnr

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "kl_v1", "vae")
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a", (24, 40)), ("b", (34, 28))):
        picture = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        picture.resize(size).save(f"photos/{name}.png")
    return tmp_path


@torch.inference_mode()
def wanted_psnr() -> float:
    """The mean over both photos, from the latents in fp16, as the rate counts them."""
    model, values = ldm_ae.load("vae"), []
    for path in sorted(Path("photos").iterdir()):
        pixels = load_image(path)
        original = to_float(pixels)
        back = model.decode(model.encode(original).half().float())
        values.append(psnr(to_uint8(original), to_uint8(back)))
    return float(torch.cat(values).mean())


def test_the_table_and_the_report(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "vae", "photos", "--metrics", "psnr", "ms_ssim", "--out", "scores.json"]
    assert main(line) == 0
    report = json.loads(Path("scores.json").read_text())
    (row,) = report["rows"]
    assert row["psnr"] == pytest.approx(wanted_psnr(), abs=1e-6)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["PSNR,", "dB", f"{row['psnr']:.2f}"]
    assert shown[1].startswith("MS-SSIM   null: ") and "161 pixels" in shown[1]
    assert shown[2].split() == ["bpp,", "raw", f"{row['bpp']:.4f}"]
    assert shown[3].split() == ["images", "2"]


def test_a_model_of_the_package_goes_by_its_name(work: Path) -> None:
    assert main(["evaluate", "kl", "photos", "--metrics", "psnr", "--out", "scores.json"]) == 0
    (row,) = json.loads(Path("scores.json").read_text())["rows"]
    assert row["name"] == zoo.names()["kl"].name and row["psnr"] > 10


def test_a_decoder_is_judged_by_the_latents_of_another_model(work: Path) -> None:
    line = ["evaluate", "vae", "photos", "--metrics", "psnr", "--out", "scores.json"]
    assert main([*line, "--latents-of", "vae"]) == 0
    (row,) = json.loads(Path("scores.json").read_text())["rows"]
    assert row["psnr"] == pytest.approx(wanted_psnr(), abs=1e-4)
    assert row["latents_of"] == "vae"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "nowhere"], "nowhere: no such folder"),
        (["photos", "photos"], "no config.json"),
        (["vae", "photos", "--out", "x.txt"], "name a file that ends in .json"),
        (["vae", "photos", "--limit", "0"], "--limit 0"),
        (["vae", "photos", "--latents-of", "kl16"], "the encoder 16 at f8"),
        (["vae", "photos", "--device", "moon"], "--device moon"),
    ],
)
def test_mistakes(
    work: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments, "--metrics", "psnr"]) == 2
    assert message in capsys.readouterr().err
