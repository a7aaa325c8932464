"""A folder to work in with two models and some pictures, and how a verb is run there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm_ae.cli.main import main

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models and some pictures, and the working directory."""
    rng = np.random.default_rng(0)
    for name in ("kl", "vq"):
        shutil.copytree(GOLDEN / f"{name}_v1", tmp_path / name)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    coarse = rng.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    Image.fromarray(image[:, :, :3]).save(tmp_path / "photos" / "a.png")
    Image.fromarray(image).save(tmp_path / "photos" / "more" / "b.png")
    Image.fromarray(image[:, :, 0]).save(tmp_path / "photos" / "c.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run() -> Callable[[str], None]:
    def must_succeed(line: str) -> None:
        assert main(line.split()) == 0

    return must_succeed


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """The one message of a command that must fail."""

    def must_fail(line: str) -> str:
        capsys.readouterr()
        try:
            code = main(line.split())
        except SystemExit as stop:  # argparse's own
            code = stop.code
        assert code == 2
        lines = [part for part in capsys.readouterr().err.splitlines() if "error: " in part]
        assert len(lines) == 1
        return lines[0]

    return must_fail
