"""Pictures to .lae files."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae import zoo
from ldm_ae.cli.files import LAE, for_each_file, messages, piped, require_names
from ldm_ae.cli.options import add_bounds, add_codec_options, model_options
from ldm_ae.codec.codec import DEFAULT_QUALITY
from ldm_ae.data.bounds import Bounds
from ldm_ae.data.formats import image_endings
from ldm_ae.data.images import to_array
from ldm_ae.data.reading import Reader
from ldm_ae.files import replacing
from ldm_ae.pretrained import load_codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a picture, a folder of them, or -")
    parser.add_argument("target", type=Path, help="the .lae file, the folder, or -")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--quality",
        type=int,
        help=f"0 (smallest) to 63 (finest); {zoo.DEFAULT_QUALITY} by default, above which the"
        f" default model gains little; {DEFAULT_QUALITY} with --model",
    )
    rate.add_argument("--bpp", type=float, help="the finest quality within so many bits per pixel")
    present = parser.add_mutually_exclusive_group()
    present.add_argument(
        "--skip-existing", action="store_true", help="of a folder, what has its .lae file already"
    )
    present.add_argument("--force", action="store_true", help="overwrite what is there already")
    add_bounds(parser)
    add_codec_options(
        parser,
        f"{zoo.DEFAULT_CODEC} by default, and {zoo.FINE_CODEC} from --bpp {zoo.FINE_FROM} on",
    )


def run(arguments: argparse.Namespace) -> None:
    with piped(arguments.source, arguments.target, LAE) as (source, target):
        _run(arguments, source, target)


def _run(arguments: argparse.Namespace, source: Path, target: Path) -> None:
    require_names(source, target, (LAE,))
    name, memory = arguments.model or zoo.codec_for(arguments.bpp), arguments.max_memory
    codec = load_codec(name, max_memory=memory, **model_options(arguments))
    quality, bpp = arguments.quality, arguments.bpp
    if arguments.model is None and quality is None and bpp is None:
        quality = zoo.DEFAULT_QUALITY
    codec.require_rate(quality, bpp)
    num_bytes, num_pixels, reader = 0, 0, Reader(None, Bounds(arguments.max_pixels))

    def one(source: Path, target: Path) -> None:
        nonlocal num_bytes, num_pixels
        image = to_array(reader.decode(source))
        data = codec.compress(image, quality, bpp)
        with replacing(target) as aside:
            aside.write_bytes(data)
        num_bytes += len(data)
        num_pixels += image.shape[0] * image.shape[1]

    skip = arguments.skip_existing
    force = arguments.force or skip  # a picture that is newer than its file
    done = for_each_file(source, target, image_endings(), LAE, one, force, skip)
    if done.number:
        rate = f"{num_bytes} bytes, {num_bytes * 8 / num_pixels:.4f} bpp"
        print(f"{done}, {rate}", file=messages(arguments.target))
    elif done.present:
        print(done, file=messages(arguments.target))
    reader.finish()
    done.require_all()
