"""Encoding and decoding large images: whole, in strips of bounded memory, and in diffusers' tiles.

python benchmarks/tiling.py --out benchmarks/results/tiling.json

One thread; seconds are the processor's, ratio is over the whole network. Errors are to the whole
network in [-1, 1] (of latents, in their units), levels their mean in 255ths. call_mib is what a
call takes at its peak beside model and input. The image of --large is decoded and encoded in
strips alone.
"""

from pathlib import Path

from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.bench.tiling import WAYS, Subject, measure_all

COLUMNS = {
    "task": "s",
    "model": "s",
    "side": "d",
    "way": "s",
    "seconds": ".2f",
    "wall_seconds": ".2f",
    "ratio": ".2f",
    "call_mib": ".0f",
    "resident_mib": ".0f",
    "max_error": ".2g",
    "levels": ".2g",
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--images", default="embedded", help="a folder; its first is mirrored")
    parser.add_argument("--models", nargs="+", default=["kl16"], help="names, folders or configs")
    parser.add_argument("--sides", nargs="+", type=int, default=[1024, 2048])
    parser.add_argument("--large", type=int, default=8192, help="side of the largest; 0: none")
    parser.add_argument("--max-memory", default="2GB", help="of the strips")
    parser.add_argument("--calls", type=int, default=3, help="the fastest of these counts")
    with one_line_errors():
        arguments = parser.parse_args()
        rows = []
        sides = [(arguments.large, True)] if arguments.large else []
        sides += [(side, False) for side in arguments.sides]
        for model in arguments.models:
            for side, is_large in sides:
                ways, calls = (("strips",), 1) if is_large else (WAYS, arguments.calls)
                for task in ("decode", "encode"):
                    found = measure_all(
                        [
                            Subject(
                                task,
                                model,
                                side,
                                way,
                                arguments.images,
                                arguments.max_memory,
                                calls,
                                compared=not is_large,
                            )
                            for way in ways
                        ]
                    )
                    rows += [{"max_error": None, "levels": None} | row for row in found]
                    print(format_table(rows[-len(found) :], COLUMNS), flush=True)
                    write_json(arguments.out, {"rows": rows} | provenance())


if __name__ == "__main__":
    main()
