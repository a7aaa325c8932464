"""Encode a data set of pictures once: its latents as shards that diffusion models are trained on.

Run it again after a kill, or after pictures were added, changed or removed: it does what is left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from ldm_ae.cli.options import add_bounds, add_model_options, model_options
from ldm_ae.data.config import DataConfig, SourceKind
from ldm_ae.data.opening import kind_of
from ldm_ae.data.texts import TextColumns
from ldm_ae.errors import UserError
from ldm_ae.files import printable
from ldm_ae.store.job import Job, LayoutName
from ldm_ae.store.run import Outcome, encode_dataset
from ldm_ae.store.settings import Content, DType, ModelChoice, Storage
from ldm_ae.store.views import Crop, Views
from ldm_ae.store.work import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", help="a folder, shards, or hub:owner/set")
    parser.add_argument("out", type=Path, help="the folder for the store")
    parser.add_argument("--model", required=True, help="a model's folder or name, as kl16")
    parser.add_argument("--kind", choices=get_args(SourceKind), help="of IMAGES; seen by itself")
    parser.add_argument("--split", default="train", help="of a set on the hub (%(default)s)")
    parser.add_argument("--image-column", help="where a table has several")
    parser.add_argument("--caption-column", help="else caption, text or prompt")
    parser.add_argument("--label-column", help="else label, class or cls; a name, or a number")
    _add_views(parser)
    _add_storage(parser)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, help="of each process; by default all cores are used"
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", choices=("fp32", "fast"), default="fp32", help="fast: near")
    add_bounds(parser)
    add_model_options(parser)


def _add_views(parser: argparse.ArgumentParser) -> None:
    views = Views()
    parser.add_argument("--size", type=int, default=views.size, help="side of a crop (%(default)s)")
    parser.add_argument(
        "--crop",
        choices=get_args(Crop),
        default=views.crop,
        help="the middle square; random squares; or the middle in the nearest of some shapes of"
        " about SIZE x SIZE pixels (%(default)s)",
    )
    parser.add_argument("--crops", type=int, default=1, help="random ones of each picture")
    parser.add_argument(
        "--min-scale",
        type=float,
        default=views.min_scale,
        help="least share of the largest square's area in a random crop (%(default)s)",
    )
    parser.add_argument("--bucket-step", type=int, default=views.bucket_step)
    parser.add_argument("--flip", action="store_true", help="also each crop's mirror image")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latents",
        choices=get_args(Content),
        default="mode",
        help="the posterior's mode; its moments, to sample from; or .lae bytes (%(default)s)",
    )
    parser.add_argument("--dtype", choices=get_args(DType), default="float16")
    parser.add_argument("--quality", type=int, default=40, help="of coded ones, 0 to 63")
    parser.add_argument(
        "--layout",
        choices=get_args(LayoutName),
        default="parquet",
        help="shards, or a .safetensors file for each picture as kohya's trainers take them",
    )
    parser.add_argument("--architecture", default="ldm_ae", help="a word in those files' names")
    parser.add_argument("--shard-size", type=int, default=512, help="pictures (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    job = _job(arguments)
    with tqdm(unit="image", desc="encode") as bar:

        def begun(total: int) -> None:
            bar.reset(total)

        def report(news: Report) -> None:
            bar.update(news.pictures)
            for name, reason in news.left_out:
                tqdm.write(f"left out: {printable(f'{name}: {reason}')}", file=sys.stderr)

        outcome = encode_dataset(
            job,
            arguments.out,
            processes=arguments.processes,
            threads=arguments.threads,
            begun=begun,
            report=report,
        )
    print(_told(outcome))
    if outcome.left_out:
        raise UserError(
            f"{len(outcome.left_out)} of {outcome.pictures} images were left out, as said above;"
            " the others are done"
        )


def _told(outcome: Outcome) -> str:
    if not outcome.encoded:
        return f"{outcome.pictures} images: nothing to encode"
    return (
        f"{outcome.pictures} images; {outcome.encoded} crops encoded in {outcome.seconds:.1f} s,"
        f" {outcome.encoded / outcome.seconds:.1f} a second, the encoder busy for"
        f" {outcome.busy:.0%} of it"
    )


def _job(arguments: argparse.Namespace) -> Job:
    options = model_options(arguments)
    kind = arguments.kind or kind_of(arguments.images)
    data = DataConfig(
        kind=kind,
        path=None if kind in ("hub", "embedded") else arguments.images,
        name=arguments.images.removeprefix("hub:") if kind == "hub" else None,
        split=arguments.split,
        image_column=arguments.image_column,
        streaming=kind in ("parquet", "tar"),  # read in place
        max_pixels=arguments.max_pixels,
    )
    return Job(
        data,
        ModelChoice(
            arguments.model,
            options["subfolder"],
            options["variant"],
            str(options["device"]),
            arguments.precision,
        ),
        Views(
            arguments.crop,
            arguments.size,
            arguments.crops,
            arguments.min_scale,
            arguments.flip,
            arguments.bucket_step,
        ),
        Storage(arguments.latents, arguments.dtype, arguments.quality),
        TextColumns(arguments.caption_column, arguments.label_column),
        arguments.layout,
        arguments.architecture,
        arguments.shard_size,
        arguments.batch_size,
    )
