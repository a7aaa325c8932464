"""The same job on other engines: a row number of the source in, the store's rows out.

`RowEncoder` is what they call. `datasets`:

    rows = datasets.Dataset.from_dict({"row": range(len(job.open_source()))})
    rows.map(RowEncoder(job), batched=True, batch_size=16, with_rank=True, num_proc=2,
             remove_columns="row", features=datasets.Features.from_arrow_schema(SCHEMA))

Ray Data: `encode_with_ray`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ldm_ae.data.source import Source
from ldm_ae.installed import require_extra
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.job import Job
from ldm_ae.store.preparing import Preparation
from ldm_ae.store.rows import SCHEMA, Row, make_row

_log = logging.getLogger(__name__)


class RowEncoder:
    """Numbers of the source's rows, a batch of the column `row` => the rows of a store, as columns.

    It can be pickled; source and model are opened where it is first called. A picture that cannot
    be used is named in the log and has no row.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.encoder = LatentEncoder(job.model, job.storage)
        self._source: Source | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None}

    def __call__(
        self, batch: Mapping[str, Sequence[int]], rank: int | None = None
    ) -> dict[str, list[Any]]:
        """rank: of this process among several, which chooses the GPU."""
        self.encoder.open(rank)
        rows = self.rows([int(row) for row in batch["row"]])
        return {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        if self._source is None:
            self._source = self.job.open_source()
        channels = self.encoder.facts["image_channels"]
        preparation = Preparation(self.job, self._source, channels)
        items = zip(numbers, self._source.items(numbers), strict=True)
        pictures = [preparation.picture(row, item, {}) for row, item in items]
        for picture in pictures:
            if picture.entry.reason is not None:
                _log.warning("left out: %s: %s", picture.entry.key, picture.entry.reason)
        views = [(picture, view) for picture in pictures for view in picture.views]
        latents = self.encoder.encode([view.pixels for _, view in views])
        return [
            make_row(
                picture.entry.key,
                picture.entry.sha256,
                picture.texts,
                view,
                found,
                self.job.storage,
                self.encoder.facts,
            )
            for (picture, view), found in zip(views, latents, strict=True)
        ]


class RayRows:
    """`RowEncoder` as an actor of Ray Data, tables in and out."""

    def __init__(self, job: Job) -> None:
        self.encoder = RowEncoder(job)

    def __call__(self, batch: pa.Table) -> pa.Table:
        numbers = batch.column("id").to_pylist()
        return pa.table(self.encoder({"row": numbers}), schema=SCHEMA)


def encode_with_ray(job: Job, folder: str | Path, *, actors: int = 1, **resources: Any) -> None:
    """Write a job's rows as parquet shards, which `LatentStore` and `datasets` read, by an actor
    pool of Ray Data on the cluster that `ray.init` has found.

    actors: how many, each with a model of its own. resources: of each actor, such as `num_gpus=1`,
    as `map_batches` takes them; where the actors ask for all CPUs there are, Ray waits for one
    more for ever, so give less, `num_cpus=0.5`. The source must lie where every actor finds it.
    Raises UserError as `encode_dataset`.
    """
    require_extra("ray")
    import ray

    encoder = LatentEncoder(job.model, job.storage)  # what is wrong is said here, not by an actor
    job.views.require_multiples(encoder.facts["downsampling_factor"])
    rows = ray.data.range(len(job.open_source()))
    rows.map_batches(
        RayRows,
        fn_constructor_args=(job,),
        batch_size=job.batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        **resources,
    ).write_parquet(str(folder))
