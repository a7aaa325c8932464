import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ldm_ae.data.batch import Batch
from ldm_ae.models.coders import CoderConfig
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.logging import RunLog, forget_validations_after
from ldm_ae.train.trackers import start_trackers

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)


def test_validations_of_an_abandoned_stretch_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (2, 4, 6)))
    forget_validations_after(tmp_path, 4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    with path.open("a") as file:
        file.write('{"step": 4, "ps')  # a kill came while it was written
    forget_validations_after(tmp_path, 4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    forget_validations_after(tmp_path / "nowhere", 4)  # nothing to forget is no error


def test_scores_pictures_and_skips_reach_their_files(
    make_experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accelerator = make_accelerator(make_experiment().train, tmp_path)
    start_trackers(accelerator, tmp_path, 0, "resolved: config")
    log = RunLog(accelerator, tmp_path, total=2, start=0)
    with log.waiting_for_data():
        time.sleep(0.01)
    lines = ["a.png: truncated", "a.png: truncated"]
    batches = [Batch(torch.zeros(0), torch.zeros(0), [], lines, ["b.gif"])]
    log.advance(4, batches, ["update skipped"])
    log.terms(1, {"loss": 0.5, "learning_rate_muon": 1e-3})
    log.validation(1, {"psnr": 20.0, "ms_ssim": None}, np.zeros((8, 8, 3), np.uint8))
    assert (log.skips.num_replaced, log.skips.num_images) == (2, 1)
    log.close()
    assert "of 1 files only the first frame" in capsys.readouterr().out
    line = json.loads((tmp_path / "validation.jsonl").read_text())
    assert line == {"step": 1, "psnr": 20.0, "ms_ssim": None}
    assert (tmp_path / "previews" / "step-00000001.png").is_file()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "ldm_ae")).Reload()
    values = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert values["train/loss"] == 0.5
    assert values["train/skipped_images"] == 1
    assert values["train/learning_rate_muon"] == pytest.approx(1e-3)
    assert 0 < values["train/data_wait_share"] <= 1
    assert values["validation/psnr"] == 20
    assert events.Tags()["images"] == ["validation/reconstructions"]


def test_what_a_killed_stretch_logged_is_hidden(make_experiment, tmp_path: Path) -> None:
    for start, stop in ((0, 5), (3, 4)):  # killed after 5 steps, the last checkpoint at 3
        accelerator = make_accelerator(make_experiment().train, tmp_path)
        start_trackers(accelerator, tmp_path, start, "")
        for step in range(start + 1, stop + 1):
            accelerator.log({"train/loss": float(start)}, step=step)
        accelerator.end_training()
        time.sleep(1.1)  # files are ordered by the second of their making
    events = EventAccumulator(str(tmp_path / "tensorboard" / "ldm_ae")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(1, 0.0), (2, 0.0), (3, 0.0), (4, 3.0)]
