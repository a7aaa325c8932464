"""The command line of the training scripts."""

from __future__ import annotations

import argparse
import os
import sys

from ldm_ae.train.initial import load_experiment
from ldm_ae.train.loop import train
from ldm_ae.train.stopping import STOPPED_EXIT_CODE, TrainingStopped

FAMILIES = {
    "kl": "KL-regularised autoencoder",
    "vq": "VQ autoencoder",
    "plain": "plain autoencoder",
    "dvae": "discrete VAE",
}


def main(kind: str) -> None:
    """Parse, load the config, train, and say where the export is. A user's mistake ends with one
    message and exit code 2, a failed training with exit code 1, one that SIGTERM or SIGINT stopped
    after saving with exit code 75."""
    parser = argparse.ArgumentParser(
        description=f"Train a {FAMILIES[kind]}.",
        epilog="Example: --config configs/kl_f8.yaml train.lr=1e-4 data.path=photos",
    )
    parser.add_argument("--config", required=True, help="a YAML file, such as those in configs/")
    parser.add_argument(
        "--resume",
        help="`latest`; `auto` (the latest if there is one); or a checkpoint's name or path",
    )
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    arguments = parser.parse_args()
    try:
        experiment = load_experiment(arguments.config, arguments.overrides)
        if experiment.model.kind != kind:
            raise ValueError(
                f"config {arguments.config} describes a model of kind {experiment.model.kind}:"
                f" use the script that trains those, not the one for {kind}"
            )
        export_dir = train(experiment, arguments.resume)
    except (ValueError, OSError) as error:
        sys.exit(_message(error, 2))
    except TrainingStopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(stopped, file=sys.stderr)
        sys.exit(STOPPED_EXIT_CODE)
    except FloatingPointError as error:
        sys.exit(_message(error, 1))
    if os.environ.get("RANK", "0") != "0":
        return
    print(
        f"Export: {export_dir}\n"
        f'Load it: import ldm_ae; model = ldm_ae.load("{export_dir}")\n'
        f'In diffusers: {_diffusers_class(kind)}.from_pretrained("{export_dir}")'
    )


def _message(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _diffusers_class(kind: str) -> str:
    return "AutoencoderKL" if kind in ("kl", "plain") else "VQModel"
