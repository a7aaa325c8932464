"""`ldm-ae train` and users' mistakes: one clear message, exit code 2, nothing left."""

from pathlib import Path

import pytest
from PIL import Image

from ldm_ae.cli.main import main

SMALL = [
    "train",
    "--config",
    "configs/kl_f8_small.yaml",
    "train.device=cpu",
    "train.precision=fp32",
    "train.kernels=plain",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (160, 160), (50 * i, 90, 120)).save(folder / f"{i}.png")
    return folder


def empty(tmp_path: Path) -> str:
    (tmp_path / "empty").mkdir()
    return str(tmp_path / "empty")


def truncated(tmp_path: Path) -> str:
    folder = tmp_path / "truncated"
    folder.mkdir()
    Image.effect_noise((256, 256), 90).convert("RGB").save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:2000])
    return str(folder)


BAD = {
    "missing path": (["data.path=nowhere"], "nowhere: no such folder"),
    "unknown key": (["data.path=x", "train.sped=1"], "train.sped: unknown key"),
    "wrong type": (["data.path=x", "train.steps=many"], "train.steps=many"),
    "indivisible size": (["data.path=x", "data.size=100"], "data.size=100 is not divisible"),
    "no data named": ([], "data.path"),
    "CUDA without CUDA": (["train.device=cuda"], "train.device=cuda"),
    "weights unreachable": (["loss.perceptual.weights=nowhere.safetensors"], "nowhere.safetensors"),
    "other family": (["data.path=x", "model={kind: vq}", "--kind", "kl"], "of kind discrete"),
}


@pytest.mark.parametrize("case", [*BAD, "empty folder", "truncated image only"])
def test_bad_input_ends_with_one_message(
    case: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if case == "empty folder":
        overrides, message = [f"data.path={empty(tmp_path)}"], "holds no image files"
    elif case == "truncated image only":
        overrides, message = (
            [f"data.path={truncated(tmp_path)}", "data.validation_count=0"],
            "cut.jpg",
        )
    else:
        overrides, message = BAD[case]
        if case in ("CUDA without CUDA", "weights unreachable"):
            overrides = [*overrides, f"data.path={photos}", "data.validation_count=1"]
    run_dir = tmp_path / "run"
    assert main([*SMALL, f"train.run_dir={run_dir}", *overrides]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("error:") == 1
    assert not run_dir.exists()


def test_lpips_without_weights_names_three_ways_out(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    data = [f"data.path={photos}", "data.validation_count=1"]
    assert main([*SMALL, *data, f"train.run_dir={tmp_path / 'run'}"]) == 2
    shown = capsys.readouterr().err
    for way in ("loss.perceptual.weights", "cache", "loss.perceptual.net=embedded"):
        assert way in shown
    assert not (tmp_path / "run").exists()
