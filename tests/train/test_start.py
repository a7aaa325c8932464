from pathlib import Path

import pytest

from ldm_ae.train.loop import train
from ldm_ae.train.start import starting_point


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    assert starting_point(tmp_path, None) is starting_point(tmp_path, "auto") is None
    with pytest.raises(ValueError, match="resume=latest: no checkpoint"):
        starting_point(tmp_path, "latest")
    checkpoint = tmp_path / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    with pytest.raises(ValueError, match="step-00000004: go on from them with --resume latest"):
        starting_point(tmp_path, None)
    (checkpoint / "state.json").touch()
    assert starting_point(tmp_path, "latest") == starting_point(tmp_path, "auto") == checkpoint


def test_a_run_is_not_mixed_with_its_later_checkpoints(tmp_path: Path) -> None:
    for step in (2, 4):
        folder = tmp_path / "checkpoints" / f"step-0000000{step}"
        folder.mkdir(parents=True)
        (folder / "state.json").touch()
    with pytest.raises(ValueError, match="newer checkpoints .step-00000004."):
        starting_point(tmp_path, "step-00000002")
    assert starting_point(tmp_path, "step-00000004") is not None


def test_a_folder_that_machines_do_not_share_is_refused(
    make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ldm_ae.train.start.gather_from_ranks", lambda step: [4, step])
    with pytest.raises(ValueError, match=r"train\.run_dir=.*steps \[4, 0\]\. .* share"):
        train(make_experiment())
