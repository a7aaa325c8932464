import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ldm_ae.errors import UserError
from ldm_ae.store import processes
from ldm_ae.store.processes import run_processes

# In a module of its own: another process must find it by name.
WORK = """
import os, signal, sys, time
from pathlib import Path
from ldm_ae.errors import UserError

def double(rank, pieces, told):
    for piece in pieces:
        time.sleep(0.01)
        told((rank, 2 * piece))

def refuse(rank, pieces, told):
    raise UserError(f"not {next(pieces)}")

def fail(rank, pieces, told):
    raise KeyError("ours")

def die(rank, pieces, told):
    next(pieces)
    os.kill(os.getpid(), signal.SIGKILL)

def endless(rank, pieces, told):
    Path(sys.argv[-1], f"{os.getpid()}.pid").touch()
    while True:
        time.sleep(0.05)
        told(rank)

if __name__ == "__main__":
    from ldm_ae.store.processes import run_processes
    from work_of_processes import endless
    run_processes(endless, [1, 2], 2, print)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "work_of_processes.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("work_of_processes")


def test_each_piece_is_done_once(work: ModuleType) -> None:
    found: list[tuple[int, int]] = []
    run_processes(work.double, list(range(40)), 2, found.append)
    assert sorted(value for _, value in found) == list(range(0, 80, 2))
    assert {rank for rank, _ in found} <= {0, 1}


def test_what_goes_wrong_in_one_is_raised_here(work: ModuleType) -> None:
    with pytest.raises(UserError, match="not 5"):
        run_processes(work.refuse, [5], 1, print)
    with pytest.raises(RuntimeError, match="KeyError\\('ours'\\)"):
        run_processes(work.fail, [5], 1, print)
    with pytest.raises(UserError, match="exit code -9.*the same command goes on"):
        run_processes(work.die, [1, 2], 2, print)


def test_one_that_dies_while_it_is_answered() -> None:
    class Gone:
        def recv(self):
            return "next", None

        def send(self, piece):
            raise BrokenPipeError

    with pytest.raises(UserError, match="the same command goes on"):
        processes._heed(Gone(), SimpleNamespace(join=lambda: None, exitcode=-9), iter([1]), print)


def test_they_do_not_outlive_the_one_that_started_them(work: ModuleType, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    script = tmp_path / "work_of_processes.py"
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 100
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(map(is_there, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(is_there, pids))


def is_there(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
