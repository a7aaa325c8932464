import json
from pathlib import Path

import numpy as np
import torch

from ldm_ae.train.logging import RunLog, forget_validations_after
from ldm_ae.train.setup import make_accelerator


def test_validations_of_an_abandoned_stretch_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "validation.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (2, 4, 6)))
    forget_validations_after(tmp_path, 4)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    forget_validations_after(tmp_path / "nowhere", 4)  # nothing to forget is no error


def test_scores_pictures_and_skips_reach_their_files(make_experiment, tmp_path: Path) -> None:
    accelerator = make_accelerator(make_experiment().train, tmp_path)
    accelerator.init_trackers("tensorboard")
    log = RunLog(accelerator, tmp_path, total=2, start=0)
    log.advance(4, ["a.png: truncated", "a.png: truncated"])
    log.terms(1, {"loss": torch.tensor(0.5)}, learning_rate=1e-3)
    log.validation(1, {"psnr": 20.0, "ms_ssim": None}, np.zeros((8, 8, 3), np.uint8))
    assert (log.skips.num_replaced, log.skips.num_images) == (2, 1)
    log.close()
    line = json.loads((tmp_path / "validation.jsonl").read_text())
    assert line == {"step": 1, "psnr": 20.0, "ms_ssim": None}
    assert (tmp_path / "previews" / "step-00000001.png").is_file()
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").glob("events*"))
    for tag in (b"train/loss", b"train/skipped_images", b"validation/psnr", b"reconstructions"):
        assert tag in events
