import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldm_ae.errors import UserError
from ldm_ae.folder_lock import LOCK, locked
from ldm_ae.train.loop import train
from ldm_ae.train.run_lock import sole_run

HOLD = (
    "import sys, time, os\n"
    "from pathlib import Path\n"
    "from ldm_ae.folder_lock import locked\n"
    "with locked(Path(sys.argv[1]), 'train.run_dir'):\n"
    "    if os.fork() == 0: os.close(1); time.sleep(5); os._exit(0)\n"  # a worker that outlives it
    "    print('held', flush=True)\n"
    "    time.sleep(100)\n"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process, which has the run's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_run_is_refused_and_changes_nothing(
    make_experiment, tmp_path: Path, holder: subprocess.Popen
) -> None:
    half = tmp_path / "run" / "checkpoints" / ".writing-step-00000002"
    half.mkdir(parents=True)  # what the first one is at, and a start alone would clear
    (half / "model.safetensors").write_bytes(b"half")
    before = contents(tmp_path / "run")
    named = f"in use by process {holder.pid} on {socket.gethostname()}: wait"
    for resume in (None, "auto"):
        with pytest.raises(ValueError, match=named):
            train(make_experiment(), resume)
    assert contents(tmp_path / "run") == before


def test_death_releases_the_folder(
    make_experiment, tmp_path: Path, holder: subprocess.Popen
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert train(make_experiment("train.steps=2"), "auto").is_dir()


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    for folder in (tmp_path / "runs" / "a", tmp_path):
        with locked(folder, "OUT"):
            assert (folder / LOCK).is_file()
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "photo.png").touch()
    with locked(tmp_path, "OUT"):
        pass
    assert (tmp_path / "photo.png").exists()


def test_every_rank_is_refused(make_experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ldm_ae.train.run_lock.gather_from_ranks", lambda own: ["in use by process 7", own]
    )
    with pytest.raises(ValueError, match="in use by process 7"):
        train(make_experiment())


def test_a_file_is_no_runs_folder(make_experiment, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    experiment = make_experiment(f"train.run_dir={tmp_path / 'file'}")
    with (
        pytest.raises(UserError, match="file is a file: name a folder"),
        sole_run(experiment.train),
    ):
        pass
