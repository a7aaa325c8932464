"""Give a model's folder its prior.safetensors, which files are compressed with."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import get_args

from ldm_ae import zoo
from ldm_ae.cli.options import add_bounds, add_model_options, model_options
from ldm_ae.codec.digest import model_digests
from ldm_ae.codec.fitting.calibrate import calibrate, calibration_images
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.codec.priors.base import Prior
from ldm_ae.codec.priors.file import PRIOR_FILE, earlier_prior, load_prior, save_prior
from ldm_ae.convert.places import model_folder
from ldm_ae.convert.wrap import load_any
from ldm_ae.data.bounds import Bounds
from ldm_ae.data.paths import find_images
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.models.base import Autoencoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the folder of a diffusers model or of an export")
    parser.add_argument("--images", type=Path, required=True, help="a folder of typical pictures")
    parser.add_argument("--max-images", type=int, default=500, help="how many to look at")
    parser.add_argument(
        "--prior",
        choices=get_args(Kind),
        default="context",
        help="context codes smaller, factorised is fitted and decoded faster",
    )
    add_bounds(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.max_images < 1:
        raise UserError(f"--max-images {arguments.max_images}: look at 1 image or more")
    zoo.require_own(arguments.model)
    model = load_any(arguments.model, **model_options(arguments))
    paths = find_images(arguments.images)
    reader = Reader(model.image_channels, Bounds(arguments.max_pixels))
    images = calibration_images(paths, reader, arguments.max_images, progress=True)
    prior = calibrate(model, images, arguments.prior)
    folder = model_folder(arguments.model, arguments.subfolder)
    kept = _keep_earlier(model, prior, folder)
    path = save_prior(prior, folder)
    print(f"{path}: prior {prior.name!r}, {path.stat().st_size} bytes")
    if kept is not None:
        print(f"{kept}: the prior before, which .lae files written until now need")
    reader.finish()


def _keep_earlier(model: Autoencoder, prior: Prior, folder: Path) -> Path | None:
    """A copy of a prior that is about to be replaced, under the digest its files carry: without
    it nothing would ever decode them again. None if there is nothing to keep."""
    try:
        earlier = load_prior(folder)
    except UserError:  # there is none, or none that can be used
        return None
    digest, new_digest = model_digests(model, [earlier, prior])
    if digest == new_digest:
        return None
    kept = earlier_prior(folder, digest)
    with replacing(kept) as aside:
        shutil.copyfile(folder / PRIOR_FILE, aside)
    return kept
