"""Scripts that train: what they end with when they are stopped, and what they ask before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ldm_ae.bench import generation, short_training
from ldm_ae.train.stopping import TrainingStopped


def test_generation_that_was_stopped_ends_with_one_line(
    start: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def stopped(*_: object) -> None:
        raise TrainingStopped("stopped by SIGTERM after step 97")

    monkeypatch.setattr(generation, "compare", stopped)
    place = str(tmp_path / "out.json")
    options = ("--model", "kl", "--images", "photos", "--work", str(tmp_path), "--out", place)
    with pytest.raises(SystemExit) as stop:
        start("generation.py", *options)
    assert stop.value.code == 75
    assert capsys.readouterr().err == "stopped, and saved: the same command goes on\n"


def test_from_pca_misses_pictures_before_it_trains(
    start: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(20):  # of which 16 are held out
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.setattr(short_training, "trained", lambda *_: pytest.fail("it trained"))
    data = ("--data", f"path={tmp_path / 'photos'}", "num_workers=0")
    places = ("--out", str(tmp_path / "a.json"), "--pictures", str(tmp_path))
    with pytest.raises(SystemExit, match="error: 4096 pictures are needed; the data hold 512"):
        start("from_pca.py", *data, *places)
