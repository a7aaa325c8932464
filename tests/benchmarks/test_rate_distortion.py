"""benchmarks/rate_distortion.py from end to end."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from ldm_ae.codec.fitting.counts import fit_factorised
from ldm_ae.codec.priors.file import save_prior
from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.data.images import to_float
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

SCRIPT = "rate_distortion.py"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/ (a random KL autoencoder, f4, with a prior) and test/ (two photos)."""
    root = tmp_path_factory.mktemp("benchmark")
    (root / "model").mkdir()
    (root / "test").mkdir()
    torch.manual_seed(0)
    config = KLConfig(coder=CoderConfig(channels=(4, 4, 8), num_res_blocks=1, norm_groups=2))
    model = build_model(config).eval()
    save_file(model.state_dict(), root / "model" / "diffusion_pytorch_model.safetensors")
    content = to_diffusers_config(config, LatentScaling(), sample_size=64)
    (root / "model" / "config.json").write_text(json.dumps(content))
    with torch.inference_mode():
        latents = model.encode(to_float(data.astronaut()[:128, :128]))
    save_prior(fit_factorised([latents[0].numpy()]), root / "model")
    for name, photo in (
        ("a", data.astronaut()[:170, :165]),
        ("b", data.astronaut()[200:364, :168]),
    ):
        Image.fromarray(photo).save(root / "test" / f"{name}.png")
    return root


def test_a_whole_run_and_another_that_reuses_it(
    folders: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(folders)
    arguments = ["--model", "mine=model", "--images", "test", "--metrics", "psnr", "ms_ssim"]
    arguments += ["--codecs", "avif", "jpeg", "--qualities", "20", "40"]
    arguments += ["--no-memory"]
    start(SCRIPT, *arguments, "--out", "out", "--gallery-images", "1")
    written = {path.name for path in (folders / "out").iterdir()}
    reports = {"mine.json", "avif.json", "jpeg.json"}
    assert written == reports | {"cache", "summary.json", "curves.png", "gallery.png"}
    ours = json.loads((folders / "out" / "mine.json").read_text())
    assert [point["quality"] for point in ours["points"]] == [20, 40]
    assert [image["name"] for image in ours["images"]] == ["a.png", "b.png"]
    assert ours["points"][0]["bpp"] < ours["points"][1]["bpp"]
    mean = np.mean([image["rows"][0]["psnr"] for image in ours["images"]])
    assert ours["points"][0]["psnr"] == pytest.approx(mean)
    cost = ours["cost"]
    assert {"network", "prior", "coder"} <= set(cost)
    assert cost["payload_bytes"] >= cost["cross_entropy_bytes"]
    assert {"versions", "commit", "protocol"} <= set(ours)
    summary = json.loads((folders / "out" / "summary.json").read_text())
    rates = summary["bd_rate_percent_against"]["avif"]
    assert set(rates) == {"mine", "jpeg"}
    assert set(rates["mine"]) == {"psnr", "ms_ssim"}
    assert summary["trained_on"] == {"mine": None}  # its folder does not tell
    assert "no common range of the metric" in capsys.readouterr().out
    assert summary["published"] == []  # these are not the Kodak photos
    shown = np.asarray(Image.open(folders / "out" / "gallery.png"))
    assert shown.shape[1] > 4 * 160  # original, ours, AVIF, JPEG

    arguments += ["--reuse", "out", "--out", "again", "--gallery-images", "0"]
    start(SCRIPT, *arguments)
    for name in ("avif", "mine"):
        first, second = (folders / place / f"{name}.json" for place in ("out", "again"))
        assert json.loads(first.read_text()) == json.loads(second.read_text())
        assert not (folders / "again" / "cache" / name).exists()
    start(SCRIPT, *arguments, "--qualities-of", "mine", "30", "--out", "third")
    again = json.loads((folders / "third" / "mine.json").read_text())
    assert [point["quality"] for point in again["points"]] == [30]


def test_a_codec_that_is_missing_is_a_reason_in_its_report(
    folders: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    arguments = ["--images", "test", "--limit", "1", "--metrics", "psnr", "--no-memory"]
    arguments += ["--codecs", "jpeg", "vvc", "--gallery-images", "0", "--out", "some"]
    start(SCRIPT, *arguments)
    assert "imageio-ffmpeg" in json.loads((folders / "some" / "vvc.json").read_text())["reason"]
    with pytest.raises(SystemExit, match="error: nothing to measure"):
        start(SCRIPT, "--images", "test", "--out", "none", "--codecs", "vvc")


def test_a_wrong_argument_is_one_line(
    folders: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    with pytest.raises(SystemExit, match="error: --images=none: no such folder"):
        start(SCRIPT, "--images", "none", "--out", "x")
    with pytest.raises(SystemExit, match="error: --model avif=model: avif is a codec's name"):
        start(SCRIPT, "--images", "test", "--out", "x", "--model", "avif=model")
    with pytest.raises(SystemExit, match="error: --anchors kl: neither a --model's name nor"):
        start(SCRIPT, "--images", "test", "--out", "x", "--anchors", "kl")
    with pytest.raises(SystemExit, match="error: --qualities-of mine: no --model has that name"):
        start(SCRIPT, "--images", "test", "--out", "x", "--qualities-of", "mine", "3")
    assert not (folders / "x").exists()
