import errno
import json
import os
import threading
from pathlib import Path

import pytest

from ldm_ae.errors import UserError
from ldm_ae.export.export import REPLACED, WRITING
from ldm_ae.files import aside_of
from ldm_ae.train.checkpoint_folders import (
    best_checkpoint,
    checkpoints_of,
    find_checkpoint,
    naming_full_disk,
    placing,
    recover,
    rotate,
)


def make(run_dir: Path, step: int, **scores: float) -> Path:
    folder = run_dir / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    if scores:
        (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_the_best_stays_beside_the_newest(tmp_path: Path) -> None:
    for step, psnr in ((1, 20.0), (2, 25.0), (3, 25.0), (4, 22.0), (5, None)):
        make(tmp_path, step, **({} if psnr is None else {"psnr": psnr, "embedded": psnr / 100}))
    assert best_checkpoint(tmp_path, "psnr").name == "step-00000002"  # the earliest of equals
    assert best_checkpoint(tmp_path, "embedded").name == "step-00000001"  # lower is better
    assert best_checkpoint(tmp_path, "frechet") is None
    rotate(tmp_path, keep=2, best_metric="psnr")
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]
    assert find_checkpoint(tmp_path, "best", "psnr").name == "step-00000002"
    rotate(tmp_path, keep=1)
    assert names(tmp_path) == ["step-00000005"]


def test_scores_of_earlier_runs_are_read(tmp_path: Path) -> None:
    """They have the LPIPS of the network they were trained with, under that name."""
    for step, lpips in ((1, 0.3), (2, 0.2), (3, 0.4)):
        make(tmp_path, step, lpips=lpips, psnr=20.0)
    assert best_checkpoint(tmp_path, "lpips_vgg").name == "step-00000002"
    assert best_checkpoint(tmp_path, "embedded") is None


def test_a_best_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, 1)
    with pytest.raises(ValueError, match=r"resume=best: the run has no train\.best_metric"):
        find_checkpoint(tmp_path, "best")
    with pytest.raises(ValueError, match="checkpoint=best: no checkpoint has a psnr; .*step-00"):
        find_checkpoint(tmp_path, "best", "psnr", key="checkpoint")


def test_what_a_kill_left_half_done_is_never_picked_up_and_cleared(tmp_path: Path) -> None:
    make(tmp_path, 3)
    folder = tmp_path / "checkpoints"
    for leftover in (".writing-step-00000004", ".removing-step-00000001"):
        (folder / leftover).mkdir()
        (folder / leftover / "model.safetensors").touch()
    make(tmp_path, 2).rename(folder / ".replaced-step-00000002")  # before its new one came
    make(tmp_path, 9).rename(folder / ".replaced-step-00000003")  # after its new one came
    assert [path.name for path in checkpoints_of(tmp_path)] == ["step-00000003"]
    recover(tmp_path)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    recover(tmp_path / "nowhere")  # a new run has nothing to clear


@pytest.mark.parametrize("moment", ["while writing", "between the renames"])
def test_replacing_fails_without_a_loss(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make(tmp_path, 3)
    rename = Path.rename

    def fails(path: Path, to: Path) -> Path:
        if path.name.startswith(".writing-"):
            raise OSError(errno.EIO, "the disk is gone")
        return rename(path, to)

    if moment == "between the renames":
        monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError), placing(target) as aside:
        (aside / "state.json").write_text("new")
        if moment == "while writing":
            raise OSError(errno.EIO, "the disk is gone")
    assert names(tmp_path) == ["step-00000003"]
    assert (target / "state.json").read_text() == "{}"


def test_replacing_succeeds(tmp_path: Path) -> None:
    target = make(tmp_path, 3)
    with placing(target) as aside:
        (aside / "state.json").write_text("new")
    assert names(tmp_path) == ["step-00000003"]
    assert (target / "state.json").read_text() == "new"


def test_files_and_folders_are_flushed_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename = Path.rename
    module = "ldm_ae.train.checkpoint_folders"
    monkeypatch.setattr(f"{module}.sync_folder", lambda path: events.append(f"sync {path.name}"))
    monkeypatch.setattr(
        Path, "rename", lambda path, to: (events.append(f"rename {path.name}"), rename(path, to))[1]
    )
    with placing(tmp_path / "checkpoints" / "step-00000001"):
        pass
    aside = ".writing-step-00000001"
    assert events == [f"sync {aside}", f"rename {aside}", "sync checkpoints"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_with_its_folder_and_the_last_good_checkpoint(
    error: Exception, tmp_path: Path
) -> None:
    make(tmp_path, 7)
    with (
        pytest.raises(OSError, match=f"disk of {tmp_path}.*step-00000007.*--resume auto") as caught,
        naming_full_disk(tmp_path),
    ):
        raise error
    assert caught.value.errno == errno.ENOSPC


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lr"), naming_full_disk(tmp_path):
        raise ValueError("lr")


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, False), (errno.EIO, True)])
def test_a_trackers_thread_is_silent_on_a_full_disk_alone(
    number: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def write() -> None:
        raise OSError(number, "cannot write")

    with naming_full_disk(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert bool(seen) == told
    assert threading.excepthook == seen.append


@pytest.mark.parametrize(
    "content", ["[]", '{"psnr": "abc"}', '{"psnr": [1]}', "{", '{"psnr": NaN}']
)
def test_broken_scores_are_one_message(content: str, tmp_path: Path) -> None:
    folder = make(tmp_path, 3)
    (folder / "scores.json").write_text(content)
    with pytest.raises(UserError, match=r"step-00000003/scores\.json"):
        best_checkpoint(tmp_path, "psnr")


def test_what_a_kill_left_in_the_runs_folder_goes(tmp_path: Path) -> None:
    make(tmp_path, 3)
    (tmp_path / "previews").mkdir()
    for path in (tmp_path / "config.yaml", tmp_path / "previews" / "step-00000003.png"):
        for process in (os.getpid(), os.getppid()):  # under the run's lock, of whichever process
            aside = aside_of(path)
            aside.with_name(aside.name.replace(str(os.getpid()), str(process))).touch()
    writing, replaced = (aside_of(tmp_path / "export", end) for end in (WRITING, REPLACED))
    for folder in (writing, replaced):
        folder.mkdir()
        (folder / "config.json").write_text(folder.name)
    recover(tmp_path)
    hidden = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert hidden == []
    assert (tmp_path / "export" / "config.json").read_text() == replaced.name
