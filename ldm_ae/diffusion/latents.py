"""A store's latents as a denoiser sees them: scaled, in batches, with the numbers of their classes.

DiTPipeline decodes x / scaling_factor, and knows no shift. So x = z * scaling_factor, here and
nowhere else; a shift that the model has is not taken off, and the denoiser learns the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ldm_ae.data.batch import Batch
from ldm_ae.data.batch_jobs import batch_jobs, read
from ldm_ae.errors import UserError
from ldm_ae.models.gaussian import DiagonalGaussian
from ldm_ae.noise import noise_keys
from ldm_ae.store.latent_store import LatentStore

MAX_CLASSES = 1000  # DiTPipeline takes class 1000 for the empty one
_MAX_KEPT = 1 << 30  # bytes, of each process that reads
UNLABELLED = "image"  # the one class of a store without labels


@dataclass(frozen=True, kw_only=True)
class LatentBatch(Batch):
    """images: scaled latents (B, c, h, w). labels: of their classes, int64 (B,)."""

    labels: Tensor


@dataclass(frozen=True)
class Latents:
    """A store that can be trained on. classes: label -> number. names: of the classes, in order.
    shape: (c, h, w) of all its latents."""

    store: LatentStore
    classes: dict[str | None, int]
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    scaling_factor: float

    @property
    def has_moments(self) -> bool:
        return self.store.contents == {"moments"}


def open_latents(
    store: LatentStore, facts: dict[str, Any], names: Sequence[str] | None = None
) -> Latents:
    """facts: what the store should say of its model. names: other names for its classes.

    Raises UserError for a store of another model, one of indices, coded latents or several sizes,
    labels that only some rows have, more classes than the pipeline takes, and names that are not
    as many as the classes.
    """
    if store.models != {facts["sha256"]}:
        found = " and ".join(sorted(digest[:12] for digest in store.models))
        raise UserError(
            f"{store.folder} holds latents of model {found}, but the weights of --model have the"
            f" SHA-256 {facts['sha256'][:12]}: name the model that wrote the whole store"
        )
    if store.contents not in ({"mode"}, {"moments"}):
        raise UserError(
            f"{store.folder} holds {' and '.join(sorted(store.contents))}: a denoiser needs latents"
            " of a KL model, from encode-dataset with --latents mode or moments, all of one kind"
        )
    sizes = list(store.by_size())
    if len(sizes) > 1 or sizes[0][0] != sizes[0][1]:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes[:5])
        raise UserError(
            f"{store.folder} has crops of {listed}: encode squares of one size, --crop centre or"
            " random"
        )
    classes, names = _classes(store, names)
    channels, height, width = store[0]["latents"].shape
    return Latents(store, classes, names, (channels, height, width), facts["scaling_factor"])


def _classes(
    store: LatentStore, names: Sequence[str] | None
) -> tuple[dict[str | None, int], tuple[str, ...]]:
    labels, without = store.labels, store.num_unlabelled
    if (names is not None and not names) or not labels:
        if names:
            raise UserError(f"labels names {len(names)} classes; {store.folder} has no labels")
        return dict.fromkeys([None, *labels], 0), (UNLABELLED,)
    if without:
        raise UserError(
            f"{store.folder}: {without} of {len(store)} rows have no label, the others do: give"
            " all of them one, or learn all as one class by labels=[]"
        )
    if len(labels) > MAX_CLASSES:
        raise UserError(
            f"{store.folder} has {len(labels)} labels; DiTPipeline takes {MAX_CLASSES} at most:"
            " learn all as one class by labels=[]"
        )
    if names is not None and (len(names) != len(labels) or len(set(names)) < len(names)):
        raise UserError(
            f"labels names {len(set(names))} classes; {store.folder} has {len(labels)}:"
            f" {', '.join(labels[:10])}. Name each one, or leave labels out"
        )
    return {label: number for number, label in enumerate(labels)}, tuple(names or labels)


class LatentLoader:
    """Endless batches in an order that follows from the seed and the position alone; batch_size is
    per rank. Latents arrive on `device`, drawn from the posterior where its moments are stored."""

    def __init__(
        self,
        latents: Latents,
        batch_size: int,
        seed: int,
        *,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.latents, self.batch_size, self.seed = latents, batch_size, seed
        self.num_workers, self.rank, self.world_size = num_workers, rank, world_size
        self.device = torch.device(device)
        self.num_images = len(latents.store)

    def batches(self, start_position: int = 0) -> Iterator[LatentBatch]:
        """From the global batch that begins at `start_position` on."""
        moments = self.latents.has_moments
        for stored, keys, names, labels in self._read(start_position):
            z = stored.to(self.device, non_blocking=True)
            if moments:
                z = DiagonalGaussian.from_moments(z).sample(noise_keys(keys, self.seed))
            x = z * self.latents.scaling_factor
            yield LatentBatch(x, keys, names, [], labels=labels.to(self.device))

    def _read(self, start_position: int) -> Iterator[Any]:
        jobs = batch_jobs(
            self.num_images,
            self.seed,
            start_position,
            self.batch_size,
            self.rank,
            self.world_size,
        )
        return read(_Rows(self.latents), jobs, self.num_workers, self.device)


class _Rows(Dataset):
    """Batches by their (position, row)s. What was read once stays in memory, up to a bound."""

    def __init__(self, latents: Latents) -> None:
        self.latents = latents
        self._kept: dict[int, tuple[Tensor, str, int]] = {}
        self._bytes_left = _MAX_KEPT

    def _row(self, number: int) -> tuple[Tensor, str, int]:
        """What is stored, id, class."""
        found = self._kept.get(number)
        if found is None:
            row = self.latents.store.row(number)
            stored = row.tensor()
            found = stored, row.id, self.latents.classes[row.label]
            self._bytes_left -= stored.nbytes
            if self._bytes_left > 0:
                self._kept[number] = found
        return found

    def __getitem__(
        self, jobs: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, list[str], Tensor]:
        """What is stored, float32 (B, c, h, w) or (B, 2c, h, w) for moments; positions; ids;
        classes."""
        stored, ids, labels = zip(*(self._row(number) for _, number in jobs), strict=True)
        positions = torch.tensor([position for position, _ in jobs])
        return torch.stack(stored).float(), positions, list(ids), torch.tensor(labels)
