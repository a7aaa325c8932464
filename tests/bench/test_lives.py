"""Lives of a run that does nothing: how they end, are killed, and say what they were doing."""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ldm_ae.train.keeper as keeper
import ldm_ae.train.loop as loop
from ldm_ae.bench import lives
from ldm_ae.bench.lives import Life, fork, note_phase

# os.fork's own, from Python 3.12 on: these children use none of the threads that they lack.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

LONG = 60  # seconds; every one of them is killed before


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Life]]:
    """begin(work, 2): a life of two processes that call work(rank, phase); none is left behind"""
    begun: list[Life] = []

    def start(work: Callable[..., None], processes: int = 1) -> Life:
        def live(experiment: Any, rank: int, processes: int, port: int, phase: Any) -> None:
            work(rank, phase)

        monkeypatch.setattr(lives, "live", live)
        begun.append(Life(None, processes))
        return begun[-1]

    yield start
    for life in begun:
        with contextlib.suppress(ChildProcessError):  # of one that the test has killed
            if not life.ended():
                life.kill()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to this in half a minute"
        time.sleep(0.01)


def test_a_child_has_a_session_of_its_own_and_an_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        (tmp_path / "session").write_text(str(os.getsid(0)))

    def fail() -> None:
        raise KeyError("what was missed")

    codes = []
    for work in (write, fail):
        pid = fork(work)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if work is write:
            assert (tmp_path / "session").read_text() == str(pid)
    assert codes == [0, 1]
    assert "KeyError: 'what was missed'" in capfd.readouterr().err


def test_every_rank_is_started_and_waited_for(begin: Callable[..., Life], tmp_path: Path) -> None:
    life = begin(lambda rank, phase: (tmp_path / str(rank)).touch(), 2)
    assert life.wait(60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_life_that_fails_by_itself_is_no_kill(begin: Callable[..., Life]) -> None:
    def work(rank: int, phase: object) -> None:
        if rank == 1:
            os._exit(3)

    with pytest.raises(RuntimeError, match=r"failed by itself, exit codes \[(0, 3|3, 0)\]"):
        begin(work, 2).wait(60)


def test_a_kill_ends_all_and_says_what_was_done(begin: Callable[..., Life]) -> None:
    """The children of each process too, such as a loader's workers."""
    read, write = os.pipe()

    def work(rank: int, phase: Any) -> None:
        os.fork()
        if rank == 0:
            note_phase(phase, "training")
        time.sleep(LONG)

    life = begin(work, 2)
    os.close(write)
    until(lambda: life.phase[:].startswith(b"training"))
    assert not life.wait(0.05)
    assert life.kill() == "training"
    readable, _, _ = select.select([read], [], [], 30)
    assert readable and os.read(read, 1) == b"", "a process still holds the pipe open"
    os.close(read)


def test_what_ended_before_the_kill_is_left_alone(begin: Callable[..., Life]) -> None:
    life = begin(lambda rank, phase: time.sleep(LONG * rank), 2)
    until(lambda: not life.ended() and len(life.codes) == 1)
    assert life.kill() == "starting"


def test_a_kill_may_come_before_the_session(
    begin: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "setsid", lambda: time.sleep(LONG))
    assert begin(lambda rank, phase: None).kill() == "starting"


@pytest.mark.parametrize(
    ("owner", "name", "phase"),
    [
        (loop, "train_step", "training"),
        (loop, "validate", "validating"),
        (keeper, "save_checkpoint", "writing a checkpoint"),
        (loop, "export_run", "exporting"),
    ],
)
def test_a_training_says_what_it_does(
    owner: Any, name: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object, **named: object) -> str:
        if "last" in named:
            time.sleep(LONG)
        return f"{arguments} {named}"

    def train(experiment: object, resume: str) -> None:
        (tmp_path / "said").write_text(f"{resume}: {getattr(owner, name)(1, two=2)}")
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        getattr(owner, name)(last=True)

    monkeypatch.setattr(owner, name, work)
    monkeypatch.setattr(loop, "train", train)
    life = Life(SimpleNamespace(train=SimpleNamespace(run_dir=str(tmp_path / "run"))), 1)
    try:
        until(lambda: life.phase[:].startswith(b"between steps"))
        (tmp_path / "go").touch()
        until(lambda: life.phase[:].rstrip(b"\0") == phase.encode())
    finally:
        assert life.kill() == phase
    assert (tmp_path / "said").read_text() == "auto: (1,) {'two': 2}"
    assert (tmp_path / "run.0.log").is_file()
