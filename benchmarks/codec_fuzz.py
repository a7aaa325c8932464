"""Damaged .lae files: each must give symbols or a UserError, soon and in bounded memory.

python benchmarks/codec_fuzz.py --model DIR --model DIR --files 100000 --out FILE.json
"""

from dataclasses import asdict
from pathlib import Path

from ldm_ae.bench.codec_fuzz import fuzz_apart
from ldm_ae.bench.command import add_models, make_parser, named_folders, one_line_errors
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.codec.format.container import MAX_PIXELS


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--files", type=int, default=100_000, help="how many, over all models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        help="headers that promise more are refused, as by ldm_ae.load_codec (%(default)s)",
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    settings = {"seed": arguments.seed, "max_pixels": arguments.max_pixels}
    share = -(-arguments.files // len(arguments.model))
    found = {}
    with one_line_errors():
        for name, folder in named_folders(arguments.model).items():
            found[name] = asdict(fuzz_apart(folder, share, **settings))
            print(f"{name}: {found[name]}")
    if arguments.out is not None:
        write_json(arguments.out, {**settings, "models": found, **provenance()})


if __name__ == "__main__":
    main()
