""".lae files to pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae.cli.files import (
    LAE,
    LOSSLESS,
    PNG,
    for_each_file,
    messages,
    piped,
    require_names,
    save_picture,
)
from ldm_ae.cli.options import add_codec_options, model_options
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.format import container
from ldm_ae.files import replacing
from ldm_ae.pretrained import Codecs, load_codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="an .lae file, a folder of them, or -")
    parser.add_argument("target", type=Path, help="the picture, the folder for PNG files, or -")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=container.MAX_PIXELS,
        help="refuse larger pictures (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there already")
    add_codec_options(parser, "by default the one that wrote the file")


def run(arguments: argparse.Namespace) -> None:
    with piped(arguments.source, arguments.target, PNG) as (source, target):
        _run(arguments, source, target)


def _run(arguments: argparse.Namespace, source: Path, target: Path) -> None:
    require_names(source, target, LOSSLESS)
    options = model_options(arguments)
    limits = {"max_pixels": arguments.max_pixels, "max_memory": arguments.max_memory}
    codec: Codec | Codecs = Codecs(options["device"], **limits)
    if arguments.model is not None:
        codec = load_codec(arguments.model, **limits, **options)
    num_bytes, num_pixels = 0, 0

    def one(source: Path, target: Path) -> None:
        nonlocal num_bytes, num_pixels
        data = container.read_file(source)
        image = codec.that_wrote(data).decompress(data)
        with replacing(target) as aside:
            save_picture(image, aside)
        num_bytes += len(data)
        num_pixels += image.shape[0] * image.shape[1]

    force = arguments.force
    done = for_each_file(source, target, {LAE}, PNG, one, overwrite=force)
    if done.number:
        text = f"{done}, {num_pixels} pixels from {num_bytes} bytes"
        print(text, file=messages(arguments.target))
    done.require_all()
