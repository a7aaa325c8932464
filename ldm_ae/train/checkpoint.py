"""Checkpoints: everything that a run needs to go on, written aside and renamed.

RUN/checkpoints/step-00001000/
    model.safetensors   the network and its training buffers
    ema.safetensors     the averaged weights, same names
    training.pt         optimizers, loss scaler, discriminator, log-variance (tensors only)
    state.json          step, images seen
    scores.json         validation scores, if this step was validated
    digests.json        SHA-256 of each of them
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save

from ldm_ae import config
from ldm_ae.digests import DIGESTS, digest_of, digests_json
from ldm_ae.errors import UserError
from ldm_ae.files import write_through
from ldm_ae.json_file import read_json
from ldm_ae.train.checkpoint_folders import SCORES, placing, rotate
from ldm_ae.train.state import RunState
from ldm_ae.weights_file import read_weights, require_finite


@dataclass(frozen=True)
class Progress:
    """step: updates done. images_seen: over all ranks; the position in the data.

    num_images, seed: what the order of the data follows from; 0 images: not known yet.
    """

    step: int = 0
    images_seen: int = 0
    num_images: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0:
            raise UserError(f"{self} counts below 0")

    def settle_order(self, num_images: int, seed: int, new_data: bool) -> list[str]:
        """Lines for the log where the data or the seed are not what this position counts in, and
        `new_data` takes them as they are now. Raises UserError where it does not."""
        if not self.num_images or (self.num_images, self.seed) == (num_images, seed):
            return []
        was = f"the run saw {self.num_images} images in the order of train.seed={self.seed}"
        now = f"now there are {num_images} and train.seed={seed}"
        if new_data:
            return [f"{was}; {now}: it goes on with these, from image {self.images_seen} on"]
        raise UserError(
            f"{was}; {now}: the run cannot go on where it was. Restore the data and the seed, go on"
            " with what is there by train.new_data=true, or start anew in another train.run_dir"
        )


def checkpoint_path(run_dir: Path, progress: Progress) -> Path:
    return run_dir / "checkpoints" / f"step-{progress.step:08d}"


def read_progress(checkpoint: Path) -> Progress:
    """Raises UserError if state.json is damaged or missing."""
    path = checkpoint / "state.json"
    try:
        return config.build(Progress, read_json(path), str(path))
    except UserError as error:
        raise _damaged(checkpoint, error) from error


def save_checkpoint(
    run_dir: Path,
    state: RunState,
    progress: Progress,
    keep: int,
    *,
    scores: Mapping[str, float] | None = None,
    best_metric: str | None = None,
) -> Path:
    """Write a checkpoint aside, rename it, then drop all but the newest `keep` and the best.

    scores: of the validation at this very step. Raises OSError if the disk is full or fails; what
    was there before is then still there, and nothing else.
    """
    target = checkpoint_path(run_dir, progress)
    digests = {}
    with placing(target) as aside:
        for name, content in _files(state, progress, scores):
            write_through(aside / name, content)
            digests[name] = digest_of(content)
        write_through(aside / DIGESTS, digests_json(digests))
    rotate(run_dir, keep, best_metric)
    return target


def _files(
    state: RunState, progress: Progress, scores: Mapping[str, float] | None
) -> Iterator[tuple[str, bytes]]:
    """Names and contents, one in memory at a time."""
    yield "model.safetensors", save(state.network.state_dict())
    yield "ema.safetensors", save(state.average.model.state_dict())
    # By way of memory: torch's own writer aborts the process when the disk is full.
    packed = io.BytesIO()
    torch.save(state.saved(), packed)
    yield "training.pt", packed.getvalue()
    if scores is not None:
        yield SCORES, json.dumps(dict(scores)).encode()
    yield "state.json", json.dumps(asdict(progress)).encode()


def load_checkpoint(checkpoint: Path, state: RunState) -> Progress:
    """Restore what save_checkpoint wrote; UserError if it does not fit the config's networks, or
    holds numbers that are not finite. What the digests say is `start.starting_point`'s to ask."""
    try:
        state.network.load_state_dict(read_weights(checkpoint / "model.safetensors"))
        state.average.model.load_state_dict(read_weights(checkpoint / "ema.safetensors"))
        saved = torch.load(checkpoint / "training.pt", map_location="cpu", weights_only=True)
        require_finite(saved, checkpoint / "training.pt")
        state.restore(saved)
    except UserError as error:
        raise _damaged(checkpoint, error) from error
    except (RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"checkpoint {checkpoint} does not fit this config: leave `model`, `loss` and"
            f" train.optimizer as they are in {checkpoint.parents[1] / 'config.yaml'}, or choose"
            f" another train.run_dir. {_first_lines(error)}"
        ) from error
    except (OSError, EOFError, UnpicklingError) as error:
        raise _damaged(checkpoint, error) from error
    return read_progress(checkpoint)


def _first_lines(error: Exception) -> str:
    """torch lists every weight that does not fit; the first says enough."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return " ".join(lines[:2]) + (f" And {len(lines) - 2} more." if len(lines) > 2 else "")


def _damaged(checkpoint: Path, error: Exception) -> UserError:
    return UserError(f"checkpoint {checkpoint} is damaged: go on from another one. {error}")
