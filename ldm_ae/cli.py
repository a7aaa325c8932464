"""`ldm-ae`: pictures to .lae files and back."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import get_args

import torch

from ldm_ae.cli_files import (
    LOSSLESS,
    for_each_file,
    one_line,
    read_file,
    require_names,
    save_picture,
)
from ldm_ae.codec.codec import DEFAULT_QUALITY, Codec, model_digest
from ldm_ae.codec.fitting.calibrate import calibrate, calibration_images
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.codec.format import container
from ldm_ae.codec.format.planes import open_picture
from ldm_ae.codec.priors.file import EARLIER_PRIORS, PRIOR_FILE, Prior, load_prior, save_prior
from ldm_ae.convert.load import load, model_folder
from ldm_ae.data.formats import image_endings
from ldm_ae.data.paths import find_images
from ldm_ae.files import replacing
from ldm_ae.models.base import Autoencoder
from ldm_ae.pretrained import load_codec

SUFFIX = ".lae"


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A user's mistake ends with one message and exit code 2."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ldm-ae", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    compress = commands.add_parser("compress", help="pictures to .lae files")
    compress.set_defaults(run=_compress)
    compress.add_argument("source", type=Path, help="a picture, or a folder of pictures")
    compress.add_argument("target", type=Path, help="the .lae file, or the folder for them")
    rate = compress.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality", type=int, help=f"0 (smallest) to 63 (finest); {DEFAULT_QUALITY} by default"
    )
    rate.add_argument("--bpp", type=float, help="the finest quality within so many bits per pixel")

    decompress = commands.add_parser("decompress", help=".lae files to pictures")
    decompress.set_defaults(run=_decompress)
    decompress.add_argument("source", type=Path, help="an .lae file, or a folder of them")
    decompress.add_argument("target", type=Path, help="the picture, or the folder for PNG files")

    fit = commands.add_parser("calibrate", help="give a model's folder its prior.safetensors")
    fit.set_defaults(run=_calibrate)
    fit.add_argument("model", type=Path, help="the folder of a diffusers model or of an export")
    fit.add_argument("--images", type=Path, required=True, help="a folder of typical pictures")
    fit.add_argument("--max-images", type=int, default=500, help="how many to look at")
    fit.add_argument(
        "--prior",
        choices=get_args(Kind),
        default="context",
        help="context codes smaller, factorised is fitted and decoded faster",
    )

    info = commands.add_parser("info", help="what an .lae file says of itself")
    info.set_defaults(run=_info)
    info.add_argument("file", type=Path)

    for command in (compress, decompress):
        command.add_argument("--model", type=Path, required=True, help="the model's folder")
    decompress.add_argument(
        "--max-pixels",
        type=int,
        default=container.MAX_PIXELS,
        help="refuse larger pictures (%(default)s)",
    )
    for command in (compress, decompress, fit):
        command.add_argument("--subfolder", help="of a pipeline's folder")
        command.add_argument("--variant", help="such as fp16, of the weights' files")
        command.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def _compress(arguments: argparse.Namespace) -> None:
    require_names(arguments.source, arguments.target, (SUFFIX,))
    codec = _codec(arguments)
    codec.require_rate(arguments.quality, arguments.bpp)
    num_bytes, num_pixels = 0, 0

    def one(source: Path, target: Path) -> None:
        nonlocal num_bytes, num_pixels
        image = open_picture(source)
        data = codec.compress(image, arguments.quality, arguments.bpp)
        with replacing(target) as aside:
            aside.write_bytes(data)
        num_bytes += len(data)
        num_pixels += image.shape[0] * image.shape[1]

    done = for_each_file(arguments.source, arguments.target, image_endings(), SUFFIX, one)
    if done.number:
        print(f"{done}, {num_bytes} bytes, {num_bytes * 8 / num_pixels:.4f} bpp")
    done.require_all()


def _decompress(arguments: argparse.Namespace) -> None:
    require_names(arguments.source, arguments.target, LOSSLESS)
    codec = _codec(arguments)
    num_bytes, num_pixels = 0, 0

    def one(source: Path, target: Path) -> None:
        nonlocal num_bytes, num_pixels
        data = read_file(source)
        image = codec.decompress(data)
        with replacing(target) as aside:
            save_picture(image, aside)
        num_bytes += len(data)
        num_pixels += image.shape[0] * image.shape[1]

    done = for_each_file(arguments.source, arguments.target, {SUFFIX}, ".png", one)
    if done.number:
        print(f"{done}, {num_pixels} pixels from {num_bytes} bytes")
    done.require_all()


def _calibrate(arguments: argparse.Namespace) -> None:
    if arguments.max_images < 1:
        raise ValueError(f"--max-images {arguments.max_images}: look at 1 image or more")
    model = load(
        arguments.model,
        subfolder=arguments.subfolder,
        variant=arguments.variant,
        device=_device(arguments.device),
    )
    paths = find_images(arguments.images)
    images = calibration_images(paths, model.image_channels, arguments.max_images, progress=True)
    prior = calibrate(model, images, arguments.prior)
    folder = model_folder(arguments.model, arguments.subfolder)
    kept = _keep_earlier(model, prior, folder)
    path = save_prior(prior, folder)
    print(f"{path}: prior {prior.name!r}, {path.stat().st_size} bytes")
    if kept is not None:
        print(f"{kept}: the prior before, which .lae files written until now need")


def _keep_earlier(model: Autoencoder, prior: Prior, folder: Path) -> Path | None:
    """A copy of a prior that is about to be replaced, under the digest its files carry: without
    it nothing would ever decode them again. None if there is nothing to keep."""
    try:
        digest = model_digest(model, load_prior(folder))
    except ValueError:  # there is none, or none that can be used
        return None
    if digest == model_digest(model, prior):
        return None
    kept = folder / EARLIER_PRIORS.replace("*", digest.hex())
    with replacing(kept) as aside:
        shutil.copyfile(folder / PRIOR_FILE, aside)
    return kept


def _info(arguments: argparse.Namespace) -> None:
    try:
        data = read_file(arguments.file)
        file = container.read(data)
    except ValueError as error:
        raise ValueError(f"{arguments.file}: {error}") from error
    header = file.header
    lines = {
        "format version": container.VERSION,
        "model": header.digest.hex(),
        "holds": "code indices" if header.indices else "latents",
        "quality": "the model's only one" if header.indices else header.quality,
        "size": f"{header.width}x{header.height}",
        "colour": "grey" if header.grey else "colour",
        "alpha": "no" if file.alpha is None else f"{len(file.alpha)} bytes",
        "payload": f"{len(file.payload)} bytes",
        "file": f"{len(data)} bytes, {len(data) * 8 / (header.width * header.height):.4f} bpp",
    }
    for name, value in lines.items():
        print(f"{name}: {value}")


def _codec(arguments: argparse.Namespace) -> Codec:
    return load_codec(
        arguments.model,
        subfolder=arguments.subfolder,
        variant=arguments.variant,
        device=_device(arguments.device),
        max_pixels=getattr(arguments, "max_pixels", container.MAX_PIXELS),
    )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: use cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: there is no GPU that torch can use")
    return device
