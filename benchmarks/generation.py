"""Which of several latent spaces is better to generate from? A denoiser on each, the same steps.

python benchmarks/generation.py --model kl --model kl16 --images DIR --work DIR --out FILE.json \
    [key=value ...]

Encodes the photos, trains, samples, and prints the Fréchet distance of what is generated beside its
floor. Stopped at any moment, the same command goes on. Overrides are of the denoiser's config.
"""

import sys
from pathlib import Path

import torch

from ldm_ae.bench.command import add_models, make_parser, named_folders, one_line_errors
from ldm_ae.bench.generation import Comparison, compare, save_grids
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.train.stopping import STOPPED_EXIT_CODE, TrainingStopped

COLUMNS = {
    "name": "s",
    "channels": "d",
    "frechet": ".4g",
    "floor": ".4g",
    "num_samples": "d",
}


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--images", required=True, help="a folder, or shards, with labels")
    parser.add_argument("--work", type=Path, required=True, help="a folder for stores and runs")
    parser.add_argument("--out", type=Path, required=True, help="a .json; samples go beside it")
    parser.add_argument("--size", type=int, default=64, help="of the pictures (%(default)s)")
    parser.add_argument("--samples", type=int, default=2048, help="of each set (%(default)s)")
    parser.add_argument("--config", default="diffusion_small")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(arguments.threads)
    with one_line_errors():
        models = named_folders(arguments.model)
        comparison = Comparison(
            arguments.images,
            arguments.size,
            arguments.samples,
            arguments.config,
            tuple(arguments.overrides),
            arguments.work,
        )
        try:
            report = compare(comparison, models)
        except TrainingStopped:
            print("stopped, and saved: the same command goes on", file=sys.stderr)
            sys.exit(STOPPED_EXIT_CODE)
    write_json(arguments.out, report | provenance())
    save_grids(comparison, list(models), arguments.out.with_suffix(".png"))
    print(format_table(report["rows"], COLUMNS))
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
