"""The Fréchet distance of a training run: reconstructions against the validation images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from ldm_ae.data.images import to_float
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.distributed import gather_from_ranks, world
from ldm_ae.errors import UserError
from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance
from ldm_ae.metrics.mobilenet import FrechetNetwork
from ldm_ae.train.config import Experiment

_BATCH = 16


class FrechetJudge:
    """Collects features of reconstructions with `see`; `scores` compares them with the validation
    images' and forgets them. Every rank sees its share, and all call `scores` together.

    floor: the distance of two disjoint sets of training crops, `floor_images` each: what nothing
        but chance makes of sets of that size. None where there are too few images for it.
    """

    def __init__(self, network: FrechetNetwork, images: Iterable[Tensor]) -> None:
        """images: this rank's share of the validation images, (1, C, H, W) each in [-1, 1]."""
        self.network = network
        self.originals = self._moments(images)
        self.seen: list[Tensor] = []
        self.floor: float | None = None
        self.floor_images = 0

    def measure_floor(self, batches: Iterator[Tensor], num_images: int) -> None:
        """batches: this rank's training crops (B, C, H, W), from the first position on.
        num_images: how many different ones there are, over all ranks."""
        world_size = world()[1]
        size = min(self.originals.count, num_images // 2)
        share = size // world_size
        if size < 2 or share == 0:
            return
        images = (image for batch in batches for image in batch)
        sets = [self._moments(_take(images, share)) for _ in range(2)]
        self.floor, self.floor_images = frechet_distance(*sets), share * world_size

    def describe(self) -> str:
        about = f"{self.network.name}: {self.originals.count} validation images"
        if self.floor is None:
            return f"{about}; too few training images for a floor"
        return f"{about}; training crops against others, {self.floor_images} each: {self.floor:.4g}"

    def see(self, reconstructions: Tensor) -> None:
        """(B, C, H, W) in [-1, 1]."""
        self.seen.append(self.network(reconstructions))

    def scores(self) -> dict[str, float | int | str | None]:
        own = torch.cat(self.seen) if self.seen else self.originals.total.new_empty(0, 1280)
        self.seen = []
        reconstructions = _over_ranks(FeatureMoments.of(own.cpu()))
        return {
            "frechet": frechet_distance(self.originals, reconstructions),
            "frechet_images": reconstructions.count,
            "frechet_floor": self.floor,
            "frechet_floor_images": self.floor_images,
            "frechet_net": self.network.name,
        }

    @torch.no_grad()
    def _moments(self, images: Iterable[Tensor]) -> FeatureMoments:
        features = [self.network(batch).cpu() for batch in images]
        own = torch.cat(features) if features else torch.empty(0, 1280)
        return _over_ranks(FeatureMoments.of(own))


def _over_ranks(own: FeatureMoments) -> FeatureMoments:
    first, *others = gather_from_ranks(own)
    return sum(others, start=first)


def _take(images: Iterator[Tensor], num_images: int) -> Iterator[Tensor]:
    """The next images, in batches; none is left out, or the second set would begin to repeat the
    first before the data end."""
    for start in range(0, num_images, _BATCH):
        yield torch.stack(list(islice(images, min(_BATCH, num_images - start))))


def open_frechet(
    experiment: Experiment, images: list[Tensor], num_images: int, loader: TrainLoader
) -> FrechetJudge | None:
    """The Fréchet distance of the config with its floor, or None. Called by every rank.

    images: this rank's share of the `num_images` for validation, (C, H, W) uint8. Raises
    UserError if there are fewer than two, or the network's file does not fit.
    """
    weights = experiment.train.frechet.weights
    if weights is None:
        return None
    if num_images < 2:
        raise UserError(
            f"train.frechet.weights={weights} needs 2 or more validation images: set"
            " data.validation_count or data.validation_path"
        )
    device = loader.device
    judge = FrechetJudge(
        FrechetNetwork(weights).to(device), (to_float(image[None]).to(device) for image in images)
    )
    judge.measure_floor((batch.images for batch in loader.batches()), loader.num_images)
    return judge
