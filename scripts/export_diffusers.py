"""Export a training run to a folder that diffusers and ldm_ae.load open."""

import argparse
import sys
from typing import get_args

from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.train.export_run import export_run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: scripts/export_diffusers.py runs/kl_f8 exports/kl_f8 data.path=photos",
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a training run")
    parser.add_argument("out", metavar="OUT", help="the folder to write; must be new or empty")
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
        "--max-images", type=int, help="training crops to measure at most (default 10,000)"
    )
    parser.add_argument(
        "--prior",
        choices=get_args(Kind),
        default="factorised",
        help="the codec's entropy model: context makes smaller files, and takes longer",
    )
    parser.add_argument("overrides", nargs="*", metavar="data.key=value")
    arguments = parser.parse_args()
    try:
        folder = export_run(
            arguments.run,
            arguments.out,
            checkpoint=arguments.checkpoint,
            weights=arguments.weights,
            per_channel=arguments.per_channel_statistics,
            max_images=arguments.max_images,
            overrides=arguments.overrides,
            prior=arguments.prior,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f'{folder}\nLoad it: import ldm_ae; model = ldm_ae.load("{folder}")')


if __name__ == "__main__":
    main()
