"""Export a training run to a folder that diffusers and ldm_ae.load open."""

from __future__ import annotations

import argparse
from typing import get_args

from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.train.export_run import export_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: runs/kl_f8 exports/kl_f8 data.path=photos"
    parser.add_argument("run_dir", metavar="RUN", help="the folder of a training run")
    parser.add_argument("out_dir", metavar="OUT", help="the folder to write; must be new or empty")
    parser.add_argument(
        "--checkpoint", default="latest", help="`latest`, `best`, or a checkpoint's name"
    )
    parser.add_argument("--weights", choices=("ema", "model"), default="ema")
    parser.add_argument(
        "--per-channel-statistics",
        action="store_true",
        help="also write latents_mean and latents_std, which only SDXL's pipelines read",
    )
    parser.add_argument(
        "--shift",
        action="store_true",
        help="also write the latents' mean as shift_factor, which only SD3's and FLUX's read",
    )
    parser.add_argument(
        "--max-images", type=int, help="training crops to measure at most (default 10,000)"
    )
    parser.add_argument(
        "--prior",
        choices=get_args(Kind),
        default="factorised",
        help="the codec's entropy model: context makes smaller files, and takes longer",
    )
    parser.add_argument("overrides", nargs="*", metavar="data.key=value")


def run(arguments: argparse.Namespace) -> None:
    folder = export_run(
        arguments.run_dir,
        arguments.out_dir,
        checkpoint=arguments.checkpoint,
        weights=arguments.weights,
        per_channel=arguments.per_channel_statistics,
        shift=arguments.shift,
        max_images=arguments.max_images,
        overrides=arguments.overrides,
        prior=arguments.prior,
    )
    print(f'{folder}\nLoad it: import ldm_ae; model = ldm_ae.load("{folder}")')
