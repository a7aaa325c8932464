import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.trackers import require_trackers, start_trackers, track_picture


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"train\.trackers has wandb, .*pip install wandb"):
        require_trackers(["wandb"])


def test_a_run_may_have_no_tracker(make_experiment, tmp_path: Path) -> None:
    accelerator = make_accelerator(make_experiment("train.trackers=[]").train, tmp_path)
    start_trackers(accelerator, tmp_path, 0, "")
    track_picture(accelerator, "picture", np.zeros((4, 4, 3), np.uint8), 1)
    assert accelerator.trackers == []


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_without_a_network(
    make_experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = make_experiment("train.trackers=[tensorboard, wandb]").train
    accelerator = make_accelerator(config, tmp_path)
    start_trackers(accelerator, tmp_path, 3, "resolved: config")
    assert [tracker.name for tracker in accelerator.trackers] == ["tensorboard", "wandb"]
    accelerator.log({"train/loss": 0.5}, step=4)
    track_picture(accelerator, "picture", np.zeros((4, 4, 3), np.uint8), 4)
    accelerator.end_training()
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (log,) = run.glob("run-*.wandb")
    deadline = time.monotonic() + 30  # a process of W&B's own writes the file, in its own time
    while b"train/loss" not in (content := log.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"train/loss" in content and b"from step 3" in content
    assert list((run / "files" / "media" / "images").glob("picture*.png"))


def test_tensorboard_shows_the_config_and_all_channels_in_one_chart(
    make_experiment, tmp_path: Path
) -> None:
    accelerator = make_accelerator(make_experiment("train.trackers=[tensorboard]").train, tmp_path)
    start_trackers(accelerator, tmp_path, 0, "train:\n  lr: 1e-4\n")
    accelerator.end_training()
    (file,) = tmp_path.rglob("events.out.tfevents*")
    content = file.read_bytes()
    assert b"lr: 1e-4" in content and rb"validation/latent_mean/\d+" in content
