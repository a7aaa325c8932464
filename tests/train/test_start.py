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


FILES = ("model.safetensors", "ema.safetensors", "training.pt", "state.json", "digests.json")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def stopped(make_experiment, make_state, tmp_path: Path) -> Path:
    """A run of two checkpoints, of steps 2 and 4."""
    train(make_experiment())
    return tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file(
    make_experiment, stopped: Path, capfd: pytest.CaptureFixture, name: str
) -> None:
    """`latest` and a name refuse, naming the file; `auto` goes back, says so, and ends alike."""
    whole = {file: (stopped / "step-00000004" / file).read_bytes() for file in FILES[:2]}
    flip(stopped / "step-00000004" / name)
    for resume in ("latest", "step-00000004"):
        with pytest.raises(ValueError, match=rf"step-00000004/{name} is damaged"):
            train(make_experiment(), resume)
    capfd.readouterr()
    train(make_experiment(), "auto")
    told = "".join(capfd.readouterr())
    assert f"step-00000004/{name} is damaged" in told
    assert "damaged-step-00000004 now; the run goes on from step-00000002" in told
    assert {file: (stopped / "step-00000004" / file).read_bytes() for file in whole} == whole


def test_without_a_whole_checkpoint_nothing_is_begun_anew(make_experiment, stopped: Path) -> None:
    for step in (2, 4):
        (stopped / f"step-0000000{step}" / "training.pt").unlink()
    with pytest.raises(ValueError, match=r"step-00000004/training\.pt is missing"):
        train(make_experiment(), "auto")
    assert sorted(path.name for path in stopped.iterdir()) == ["step-00000002", "step-00000004"]


def test_checkpoints_of_earlier_versions_have_no_digests(make_experiment, stopped: Path) -> None:
    (stopped / "step-00000004" / "digests.json").unlink()
    assert train(make_experiment("train.steps=5"), "latest").is_dir()
