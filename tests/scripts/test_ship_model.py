"""A model that goes into the package: whole, without the machine it came from, never replaced."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae import zoo
from ldm_ae.pretrained import load_codec

ROOT = Path(__file__).parents[2]
CONFIG = """\
model: {kind: kl, init_from: /home/someone/start}
data: {path: /home/someone/photos, size: 128}
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export, what is to be said of it, and an empty package."""
    export = tmp_path / "export"
    shutil.copytree(ROOT / "tests" / "codec" / "golden" / "kl_v1", export)
    (export / "latent_statistics.json").write_text("{}")
    (export / "training_config.yaml").write_text(CONFIG)
    (export / "README.md").write_text('# Model\n\n## Use\n\nldm_ae.load("path/to/this/folder")\n')
    (tmp_path / "about.md").write_text("Trained on photos.\n")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")
    zoo.names.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    zoo.names.cache_clear()


def ship(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ship_model.py", "export", name, "--about", "about.md"])
    runpy.run_path(str(ROOT / "scripts" / "ship_model.py"), run_name="__main__")


def test_a_shipped_model_is_whole_and_says_nothing_of_the_machine(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(monkeypatch, "kl-1")
    folder = work / "zoo" / "kl-1"
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert all("/home" not in path.read_text("utf-8") for path in folder.glob("*.[ym][ad]*"))
    card = (folder / "README.md").read_text("utf-8")
    assert card.index("Trained on photos.") < card.index("## Use")
    assert 'ldm_ae.load("kl-1")' in card
    zoo.names.cache_clear()
    assert ldm_ae.load("kl").latent_channels == 4
    digest = load_codec("kl-1").digest.hex()
    assert json.loads((work / "zoo" / zoo.INDEX).read_text()) == {digest: "kl-1"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_a_version_is_never_replaced(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ship(monkeypatch, "kl-1")
    for name, message in (("kl-1", "raise the version"), ("kl", "NAME-VERSION")):
        with pytest.raises(SystemExit, match=message):
            ship(monkeypatch, name)
    (work / "export" / "prior.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"has no prior\.safetensors"):
        ship(monkeypatch, "kl-2")
    assert sorted(path.name for path in (work / "zoo").iterdir()) == [zoo.INDEX, "kl-1"]
