"""Does a latent store survive kills, come out alike on other engines, and keep the encoder busy?

python benchmarks/encode_dataset.py --images DIR --model kl16 --limit 300 --out FILE.json

Encodes the first pictures undisturbed, then killed at random moments and resumed; by two processes
and by a local Ray, if it is installed; reads the store by `datasets`, WebDataset (if installed) and
as kohya's trainers do.
"""

import tempfile
from pathlib import Path

from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.encode_dataset import measure, subset
from ldm_ae.bench.report import provenance, write_json


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", required=True, help="a folder, or parquet shards")
    parser.add_argument("--model", default="kl16")
    parser.add_argument("--limit", type=int, default=300, help="the first N pictures")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as scratch:
        photos = subset(arguments.images, arguments.limit, Path(scratch) / "photos.parquet")
        report = measure(
            photos,
            arguments.model,
            arguments.size,
            arguments.kills,
            arguments.seed,
            Path(scratch),
        )
    write_json(arguments.out, report | provenance())
    for name, found in report.items():
        print(f"{name}: {found}")


if __name__ == "__main__":
    main()
