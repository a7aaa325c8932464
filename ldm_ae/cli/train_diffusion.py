"""Train a small denoiser on a latent store; leaves a pipeline that samples with diffusers alone."""

from __future__ import annotations

import argparse
import os
import sys

from ldm_ae.cli.options import add_source_options
from ldm_ae.diffusion.config import load_diffusion
from ldm_ae.diffusion.loop import train_diffusion
from ldm_ae.train.stopping import STOPPED_EXIT_CODE, TrainingStopped


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: latents --model kl16 --out runs/photos train.steps=2000"
    parser.add_argument("store", help="the folder that encode-dataset wrote")
    parser.add_argument("--model", required=True, help="that it was written with, as kl16")
    add_source_options(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--config", default="diffusion_small", help="one of the package's, or a file (%(default)s)"
    )
    parser.add_argument(
        "--resume",
        help="`latest`; `auto` (the latest if there is one); or a checkpoint's name or path",
    )
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")


def run(arguments: argparse.Namespace) -> int | None:
    """Every process of a launch runs this; the first one speaks."""
    experiment = load_diffusion(
        arguments.config,
        arguments.overrides,
        store=arguments.store,
        model=arguments.model,
        run_dir=arguments.out,
        subfolder=arguments.subfolder,
        variant=arguments.variant,
    )
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        pipeline = train_diffusion(experiment, arguments.resume)
    except TrainingStopped as stopped:
        if is_first:
            print(stopped, file=sys.stderr)
        return STOPPED_EXIT_CODE
    if is_first:
        call = f"class_labels=[0], guidance_scale={experiment.sampling.guidance}"
        print(f'Sample: diffusers.DiTPipeline.from_pretrained("{pipeline}")({call}).images')
    return None
