"""Which model, and where it runs: the options that several verbs share."""

from __future__ import annotations

import argparse
from typing import Any

from ldm_ae.codec.contents import MAX_MEMORY
from ldm_ae.convert.load import usable_device
from ldm_ae.data.bounds import BOUNDS


def add_source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subfolder", help="of a pipeline's folder")
    parser.add_argument("--variant", help="such as fp16, of the weights' files")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    add_source_options(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `ldm_ae.load` and `ldm_ae.load_codec` take besides the folder. Raises UserError for a
    device that is not there."""
    return {
        "subfolder": arguments.subfolder,
        "variant": arguments.variant,
        "device": usable_device(arguments.device, "--device "),
    }


def add_bounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=BOUNDS.max_pixels,
        help="leave out larger pictures (%(default)s)",
    )


def add_codec_options(parser: argparse.ArgumentParser, default: str) -> None:
    """default: what is taken without --model, in words."""
    parser.add_argument(
        "--model", help="the model's folder, or the name of one of the package's; " + default
    )
    parser.add_argument(
        "--max-memory",
        default=MAX_MEMORY,
        help="that the network may take for a large picture; what does not fit goes into a file in"
        " TMPDIR (%(default)s)",
    )
    add_model_options(parser)
