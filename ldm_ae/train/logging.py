"""What a run shows: a progress bar, TensorBoard, a validation history, reconstruction grids."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ldm_ae.data.batch import SkipLog

# What a validation prints above the bar; everything goes to the files.
SHOWN = ("psnr", "ssim", "lpips", "embedded", "codebook_share", "codebook_perplexity")


def forget_validations_after(run_dir: Path, step: int) -> None:
    """Drop the lines of a validation history that a resumed run will write again."""
    path = run_dir / "validation.jsonl"
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")


class RunLog:
    """Writes on the main process only; terms stay on the device until they are due.

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
        self._images, self._since = 0, time.perf_counter()

    def advance(self, num_images: int, skipped: list[str]) -> None:
        """Count one step over `num_images` images of all ranks."""
        self._images += num_images
        self.bar.update()
        for line in self.skips.add(skipped):
            self.bar.write(f"skipped {line}")  # by whichever rank met it

    def terms(self, step: int, terms: dict[str, Tensor], learning_rate: float) -> None:
        """Log scalars, averaged over ranks; called by every rank when they are due."""
        names = sorted(terms)
        values = torch.stack([terms[name].float() for name in names])
        means = self.accelerator.reduce(values, reduction="mean")
        skipped = torch.tensor(float(self.skips.num_images), device=values.device)
        num_skipped = int(self.accelerator.reduce(skipped, reduction="sum"))
        elapsed = time.perf_counter() - self._since
        scalars = dict(zip(names, means.tolist(), strict=True))
        rate = self._images / elapsed
        self._images, self._since = 0, time.perf_counter()
        shown = {name: f"{scalars[name]:.4g}" for name in names if name != "grad_norm"}
        self.bar.set_postfix({**shown, "images/s": f"{rate:.1f}"}, refresh=False)
        extra = {"learning_rate": learning_rate, "images_per_second": rate}
        if num_skipped:
            extra["skipped_images"] = num_skipped
        self.accelerator.log({f"train/{k}": v for k, v in (scalars | extra).items()}, step=step)

    def validation(self, step: int, scores: dict[str, Any], grid: NDArray[np.uint8]) -> None:
        """scores: numbers (or None) by name; grid: (H, W, 3). For the main process alone."""
        with (self.run_dir / "validation.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **scores}) + "\n")
        numbers = {k: v for k, v in scores.items() if isinstance(v, (int, float))}
        self.accelerator.log({f"validation/{k}": v for k, v in numbers.items()}, step=step)
        previews = self.run_dir / "previews"
        previews.mkdir(exist_ok=True)
        Image.fromarray(grid).save(previews / f"step-{step:08d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tag = "validation/reconstructions"
                tracker.writer.add_image(tag, grid, step, dataformats="HWC")
        shown = ", ".join(f"{k} {v:.4g}" for k, v in numbers.items() if k in SHOWN)
        self.message(f"step {step}: {shown}")
        self._images, self._since = 0, time.perf_counter()

    def message(self, text: str) -> None:
        """A line above the bar, on the main process."""
        if self.accelerator.is_main_process:
            self.bar.write(text)

    def close(self) -> None:
        self.bar.close()
        self.accelerator.end_training()
