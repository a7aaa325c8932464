"""Convert a model between latent diffusion's checkpoints, single files, and diffusers folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldm_ae.cli.options import add_source_options
from ldm_ae.convert.convert import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Example: model.ckpt out --scaling-factor 0.18215"
    parser.add_argument(
        "source",
        metavar="IN",
        help="a folder of diffusers or an export, a .ckpt (its YAML beside it), a .safetensors, a"
        " whole Stable Diffusion in one file, hub:owner/model, or a model of the package",
    )
    parser.add_argument(
        "out",
        metavar="OUT",
        type=Path,
        help="a new folder, for diffusers; or a .ckpt or .safetensors, with LDM's names",
    )
    parser.add_argument(
        "--scaling-factor", type=float, help="what latents are multiplied by, if IN does not say"
    )
    parser.add_argument(
        "--shift-factor", type=float, help="what SD3's and FLUX's pipelines subtract before (0)"
    )
    add_source_options(parser)


def run(arguments: argparse.Namespace) -> None:
    done = convert(
        arguments.source,
        arguments.out,
        subfolder=arguments.subfolder,
        variant=arguments.variant,
        scaling_factor=arguments.scaling_factor,
        shift_factor=arguments.shift_factor,
    )
    agreement = done.agreement
    print(
        f"{done.place}: encoder and decoder agree with the source's within"
        f" {agreement.encode:.1e} and {agreement.decode:.1e} of the largest value"
    )
    if done.left_out:
        print(f"left out, for training alone: {len(done.left_out)} tensors, {done.left_out[0]} ...")
