"""Train an autoencoder from a config, validate it on the way, and export it."""

from __future__ import annotations

import argparse
import os
import sys

from ldm_ae.errors import UserError
from ldm_ae.train.config import Experiment
from ldm_ae.train.initial import load_experiment
from ldm_ae.train.loop import train
from ldm_ae.train.stopping import STOPPED_EXIT_CODE, TrainingStopped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: --config kl_f8 train.lr=1e-4 data.path=photos"
    parser.add_argument(
        "--config", required=True, help="one that ships with the package, such as kl_f8, or a file"
    )
    parser.add_argument(
        "--resume",
        help="`latest`; `auto` (the latest if there is one); or a checkpoint's name or path",
    )
    parser.add_argument(
        "--kind",
        help="refuse other models than this kind, or this kind of codebook",
    )
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")


def run(arguments: argparse.Namespace) -> int | None:
    """Every process of a launch runs this; the first one speaks."""
    experiment = load_experiment(arguments.config, arguments.overrides)
    _require_kind(experiment, arguments)
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        export_dir = train(experiment, arguments.resume)
    except TrainingStopped as stopped:
        if is_first:
            print(stopped, file=sys.stderr)
        return STOPPED_EXIT_CODE
    if is_first:
        print(
            f"Export: {export_dir}\n"
            f'Load it: import ldm_ae; model = ldm_ae.load("{export_dir}")\n'
            f'In diffusers: {experiment.model.diffusers_class}.from_pretrained("{export_dir}")'
        )
    return None


def _require_kind(experiment: Experiment, arguments: argparse.Namespace) -> None:
    codebook = experiment.model.codebook
    kind = experiment.model.kind if codebook is None else codebook.kind
    if arguments.kind not in (None, kind):
        codes = "" if codebook is None else f" with a codebook of kind {kind}"
        raise UserError(
            f"config {arguments.config} describes a model of kind {experiment.model.kind}{codes},"
            f" this script trains {arguments.kind}: use `ldm-ae train`, which trains all"
        )
