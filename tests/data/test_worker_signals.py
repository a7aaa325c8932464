import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ldm_ae.data.config import DataConfig
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.worker_signals import blocked_for_workers, naming_worker_failures
from ldm_ae.errors import UserError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="workers cannot tell who sent a signal"
)


@pytest.fixture
def threads_set() -> Iterator[None]:
    """As after torch.set_num_threads, which makes torch start threads in every worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_workers_heed_a_sigterm_of_training_alone(
    tmp_path: Path, make: SimpleNamespace, threads_set: None
) -> None:
    photos = make.folder(tmp_path / "photos", 10)
    config = DataConfig(path=str(photos), size=16, num_workers=1, validation_count=0)
    batches = TrainLoader(open_data(config), 2, seed=0).batches()
    next(batches)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    (worker,) = multiprocessing.active_children()
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # as a launcher would
    assert len(list(islice(batches, 6))) == 6  # more than were fetched ahead
    assert worker.is_alive()
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_what_was_blocked_before_stays_so() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        with blocked_for_workers():
            pass
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert {signal.SIGTERM, signal.SIGUSR1} <= blocked
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    with pytest.raises(KeyError), blocked_for_workers():
        raise KeyError
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class _Fails(Dataset):
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("shard 3 has vanished")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("killed", r"images died \(DataLoader worker .*use fewer data.num_workers"),
        ("refuses", "^shard 3 has vanished$"),
    ],
)
def test_what_a_worker_dies_of_is_one_line(how: str, message: str) -> None:
    with pytest.raises(UserError, match=message), naming_worker_failures():
        list(DataLoader(_Fails(how), num_workers=1, batch_size=None))
