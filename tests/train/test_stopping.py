import os
import signal
import threading
import warnings
from pathlib import Path

import pytest
import torch.distributed as dist

import ldm_ae.train.loop as loop
from ldm_ae.cli.main import main
from ldm_ae.train.checkpoint import read_progress
from ldm_ae.train.loop import train
from ldm_ae.train.stopping import STOPPED_EXIT_CODE, StopRequest, TrainingStopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_old_handler_comes_back(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.agreed()
        os.kill(os.getpid(), number)
        assert stop.agreed()
        assert stop.name == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_train_without_listening() -> None:
    def listen() -> None:
        with StopRequest() as stop:
            agreed.append(stop.agreed())

    agreed: list[bool] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert agreed == [False]


def _rank_until_stopped(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    with StopRequest() as stop:
        for step in range(1000):
            if (rank, step) == (1, 3):
                os.kill(os.getpid(), signal.SIGTERM)
            if stop.agreed():
                (folder / f"rank{rank}").write_text(f"{stop.name} at {step}")
                break
    dist.destroy_process_group()


def test_ranks_stop_at_the_same_step(tmp_path: Path) -> None:
    children = []
    for rank in range(2):
        with warnings.catch_warnings():  # newer Pythons warn of forks beside threads
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                _rank_until_stopped(rank, tmp_path)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert [(tmp_path / f"rank{rank}").read_text() for rank in range(2)] == ["SIGTERM at 3"] * 2


def test_a_signal_that_comes_while_ranks_agree_counts_at_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = [signal.SIGTERM]

    def waiting(*_: object, **__: object) -> None:
        if notes:
            os.kill(os.getpid(), notes.pop())

    monkeypatch.setattr(dist, "all_reduce", waiting)
    with StopRequest() as stop:
        stop._group = "two ranks"
        assert not stop.agreed()  # the other rank did not hear of it
        assert stop.agreed()
        assert stop.name == "SIGTERM"


@pytest.fixture
def signal_in_step(monkeypatch: pytest.MonkeyPatch):
    """signal_in_step(n): SIGTERM comes in the midst of update number n, from 0."""

    def arrange(number: int) -> None:
        step = loop.train_step

        def interrupted(state, batches, at):
            if at == number:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(state, batches, at)

        monkeypatch.setattr(loop, "train_step", interrupted)

    return arrange


def test_sigterm_ends_the_step_saves_and_the_run_goes_on(
    make_experiment, signal_in_step, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment("train.checkpoint_every=4", "train.validate_every=3")
    run = Path(experiment.train.run_dir)
    signal_in_step(2)
    with pytest.raises(TrainingStopped, match="SIGTERM after step 3; .*step-00000003"):
        train(experiment)
    (saved,) = (run / "checkpoints").iterdir()
    assert read_progress(saved).step == 3
    assert (saved / "scores.json").is_file()  # what was due at that step was done first
    assert not (run / "export").exists()
    monkeypatch.undo()
    assert train(experiment, "auto").is_dir()


def test_exit_code_and_message(tiny_yaml: Path, signal_in_step, capsys) -> None:
    signal_in_step(1)
    assert main(["train", "--config", str(tiny_yaml)]) == STOPPED_EXIT_CODE == 75
    assert "stopped by SIGTERM after step 2" in capsys.readouterr().err
