"""What a run shows: a progress bar, trackers, a validation history, reconstruction grids."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ldm_ae.data.batch import Batch, SkipLog
from ldm_ae.files import printable, replacing
from ldm_ae.metrics.table import METRICS
from ldm_ae.train.trackers import track_picture

# What a validation prints above the bar; everything goes to the files.
SHOWN = (*METRICS, "codebook_share", "codebook_perplexity")
IN_BAR = (
    "loss",
    "l1",
    "l2",
    "logit_laplace",
    "perceptual",
    "kl",
    "kl_uniform",
    "commitment",
    "bpp",
    "adversarial",
)


def forget_validations_after(run_dir: Path, step: int) -> None:
    """Drop the lines of a validation history that a resumed run will write again, and one that a
    kill cut short."""
    path = run_dir / "validation.jsonl"
    if not path.is_file():
        return
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue
    with replacing(path) as aside:
        aside.write_bytes(b"".join(kept))


class RunLog:
    """Writes on the main process only.

    validation.jsonl holds one line per validation, previews/ one grid.
    """

    def __init__(self, accelerator: Accelerator, run_dir: Path, total: int, start: int) -> None:
        self.accelerator, self.run_dir = accelerator, run_dir
        self.skips = SkipLog()
        self.bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            mininterval=1.0,
            disable=not accelerator.is_main_process,
        )
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    def advance(self, num_images: int, batches: Sequence[Batch], notes: list[str]) -> None:
        """Count one step over `num_images` images of all ranks. batches: this rank's share, for the
        images that were replaced, named once each. notes: lines to print."""
        self._images += num_images
        self.bar.update()
        for line in self.skips.add(batches):
            self.bar.write(f"skipped {printable(line)}")  # by whichever rank met it
        for note in notes:
            self.message(printable(note))

    def terms(self, step: int, terms: dict[str, float]) -> None:
        """Log scalars, averaged over ranks; called by every rank when they are due."""
        elapsed = time.perf_counter() - self._since
        own = {
            **terms,
            "data_wait_share": self._waited / elapsed,
            "skipped_images": float(self.skips.num_images),
        }
        values = torch.tensor(list(own.values()), device=self.accelerator.device)
        means = self.accelerator.reduce(values, reduction="mean").tolist()
        scalars = dict(zip(own, means, strict=True))
        rate = self._images / elapsed
        shown = {name: f"{scalars[name]:.4g}" for name in IN_BAR if name in scalars}
        self.bar.set_postfix({**shown, "images/s": f"{rate:.1f}"}, refresh=False)
        scalars["images_per_second"] = rate
        skipped = round(scalars.pop("skipped_images") * self.accelerator.num_processes)
        if skipped:
            scalars["skipped_images"] = skipped
        self.accelerator.log({f"train/{k}": v for k, v in scalars.items()}, step=step)
        self._restart_clock()

    def validation(self, step: int, scores: dict[str, Any], grid: NDArray[np.uint8]) -> None:
        """scores: numbers (or None) by name; grid: (H, W, 3)."""
        if self.accelerator.is_main_process:
            with (self.run_dir / "validation.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **scores}) + "\n")
        numbers = {k: v for k, v in scores.items() if isinstance(v, (int, float))}
        self.accelerator.log({f"validation/{k}": v for k, v in numbers.items()}, step=step)
        self.picture("validation/reconstructions", step, grid)
        shown = ", ".join(f"{k} {v:.4g}" for k, v in numbers.items() if k in SHOWN)
        self.message(f"step {step}: {shown}")

    def picture(self, name: str, step: int, grid: NDArray[np.uint8]) -> None:
        """grid: (H, W, 3); goes to previews/ and the trackers."""
        if self.accelerator.is_main_process:
            with replacing(self.run_dir / "previews" / f"step-{step:08d}.png") as aside:
                Image.fromarray(grid).save(aside, format="png")
        track_picture(self.accelerator, name, grid, step)
        self._restart_clock()

    def message(self, text: str) -> None:
        """A line above the bar, on the main process."""
        if self.accelerator.is_main_process:
            self.bar.write(text)

    def close(self) -> None:
        if summary := self.skips.summary():
            self.bar.write(summary)  # of each rank
        self.bar.close()
        self.accelerator.end_training()
