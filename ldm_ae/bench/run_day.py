"""A day in a run's life: what befalls it, what it prints, and whether it ends as if nothing had.

Every start is `ldm-ae train`, forked from a warm process; a mishap is planted in the child: a
signal to itself in the middle of a phase, or a hand on its files at a step.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

import ldm_ae.export.export as exporting
import ldm_ae.train.checkpoint as checkpoint
import ldm_ae.train.export_run as export_run
import ldm_ae.train.loop as loop
from ldm_ae.bench.kill_and_resume import RUN, digests, write_pictures
from ldm_ae.bench.lives import fork
from ldm_ae.folder_lock import LOCK
from ldm_ae.train.checkpoint_folders import checkpoints_of

Mishap = Callable[[], None]
Command = Callable[[list[str]], int]  # `ldm-ae`: its arguments => its exit code
_LINES = 12  # of what a start printed


class Day:
    """Runs in folders of their own below `root`, on the same pictures."""

    def __init__(self, root: Path, command: Command) -> None:
        self.root, self.command = root, command
        os.waitpid(fork(partial(write_pictures, root)), 0)
        (root / "run.yaml").write_text(RUN, encoding="utf-8")
        self.undisturbed = self.start(root / "undisturbed")
        self.end = digests(root / "undisturbed")

    def begin(
        self, run_dir: Path, resume: str = "auto", mishap: Mishap | None = None, *more: str
    ) -> tuple[int, Path]:
        """A start's process, and the file that it prints to."""
        said = self.root / f"said-{len(list(self.root.glob('said-*')))}"
        line = [
            "train",
            f"--config={self.root / 'run.yaml'}",
            f"--resume={resume}",
            f"data.path={self.root / 'folder'}",
            f"train.run_dir={run_dir}",
            *more,
        ]
        return fork(partial(_live, self.command, line, said, mishap)), said

    def start(
        self, run_dir: Path, resume: str = "auto", mishap: Mishap | None = None, *more: str
    ) -> dict[str, Any]:
        return _ended(*self.begin(run_dir, resume, mishap, *more))

    def ends_alike(self, run_dir: Path) -> bool:
        return digests(run_dir) == self.end


def _live(command: Command, line: list[str], said: Path, mishap: Mishap | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    export_run.MIN_CROPS = 8  # statistics over more would take longer than the training
    if mishap is not None:
        mishap()
    os._exit(command(line))


def _ended(process: int, said: Path) -> dict[str, Any]:
    _, status = os.waitpid(process, 0)
    text = said.read_text(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if line.strip() and "step/s" not in line]
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "said": lines[-_LINES:],
        "traceback": "Traceback" in text,
    }


def before(owner: Any, name: str, call: int, act: Callable[[], None]) -> None:
    """Have `act` done before the call of that number, from 1, of a function."""
    function, calls = getattr(owner, name), [0]

    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            act()
        return function(*arguments, **keywords)

    setattr(owner, name, wrapped)


def _sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# In the middle of: opening the data, a step, a checkpoint (its second file), the export's files.
PHASES: dict[str, tuple[Any, str, int]] = {
    "data": (loop, "TrainLoader", 1),
    "step": (loop, "train_step", 11),
    "checkpoint": (checkpoint, "write_through", 10),
    "export": (exporting, "save_prior", 1),
}


def sigterm(day: Day) -> Iterator[tuple[str, dict[str, Any]]]:
    for phase, place in PHASES.items():
        run_dir = day.root / f"sigterm-{phase}"
        stopped = day.start(run_dir, "auto", partial(before, *place, _sigterm))
        left = sorted(
            str(path.relative_to(run_dir))
            for path in (run_dir.rglob("*") if run_dir.exists() else ())
            if path.name.startswith(".") and path.name != LOCK
        )
        again = day.start(run_dir)
        yield (
            f"SIGTERM, {phase}",
            {"stopped": stopped, "left": left, "again": again, "equal": day.ends_alike(run_dir)},
        )


def two_starts(day: Day) -> Iterator[tuple[str, dict[str, Any]]]:
    run_dir = day.root / "twice"
    first = day.begin(run_dir)
    while not (run_dir / LOCK).exists() or not (run_dir / LOCK).read_text():
        time.sleep(0.01)
    second = day.start(run_dir, "auto", None, "train.seed=7")
    done = _ended(*first)
    yield (
        "two starts at once",
        {"first": done, "second": second, "equal": day.ends_alike(run_dir)},
    )


def bit_flips(day: Day) -> Iterator[tuple[str, dict[str, Any]]]:
    newest = checkpoints_of(day.root / "undisturbed")[-1]
    for name in sorted(path.name for path in newest.iterdir()):
        run_dir = day.root / f"flipped-{name}"
        shutil.copytree(day.root / "undisturbed", run_dir)
        path = checkpoints_of(run_dir)[-1] / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        latest, auto = day.start(run_dir, "latest"), day.start(run_dir)
        yield (
            f"a bit flipped in {name}",
            {"latest": latest, "auto": auto, "equal": day.ends_alike(run_dir)},
        )


def full_disk(day: Day) -> Iterator[tuple[str, dict[str, Any]]]:
    """On a file system of its own, for which mounting must be allowed."""
    place = day.root / "small"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mounting, capture_output=True).returncode:
        yield "full disk", {"reason": "not tried: this user may not mount a small file system"}
        return
    try:
        run_dir = place / "run"

        def fill() -> None:
            with contextlib.suppress(OSError), (place / "filler").open("wb", 0) as filler:
                while filler.write(bytes(4096)):
                    pass

        full = day.start(run_dir, "auto", partial(before, loop, "train_step", 11, fill))
        (place / "filler").unlink()
        again = day.start(run_dir)
        yield "full disk", {"full": full, "again": again, "equal": day.ends_alike(run_dir)}
    finally:
        subprocess.run(["umount", str(place)], check=True)


def changing_images(day: Day) -> Iterator[tuple[str, dict[str, Any]]]:
    """While it runs, after step 10, with every picture read from its file each time."""
    pictures = day.root / "folder"
    kept = day.root / "kept"
    shutil.copytree(pictures, kept)

    def same() -> None:
        for picture in sorted(kept.iterdir()):
            shutil.copyfile(picture, day.root / "new")
            os.replace(day.root / "new", pictures / picture.name)

    def removed() -> None:
        (pictures / "03.png").unlink()
        (pictures / "04.png").write_bytes(b"no picture")

    for what, act in (("replaced by the same", same), ("removed, overwritten", removed)):
        run_dir = day.root / f"images-{what[:3]}"
        mishap = partial(before, loop, "train_step", 11, act)
        done = day.start(run_dir, "auto", mishap, "data.cache_mb=0")
        result: dict[str, Any] = {"done": done}
        if act is same:
            result["equal"] = day.ends_alike(run_dir)
        yield f"images {what}", result
    shutil.rmtree(pictures)
    kept.rename(pictures)


SCENES = (two_starts, sigterm, bit_flips, full_disk, changing_images)


def run_day(root: Path, command: Command) -> dict[str, Any]:
    """What befell, by scene; `root` is an empty folder to work in."""
    day = Day(root, command)
    found = {"undisturbed": day.undisturbed}
    for scene in SCENES:
        found |= dict(scene(day))
    return found
