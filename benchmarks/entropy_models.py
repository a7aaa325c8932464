"""Bits of each entropy model on the same latents or code indices, and what coding them takes.

python benchmarks/entropy_models.py --model DIR --fit-images DIR --images DIR --out FILE.json

Both kinds of prior are fitted to crops of the one folder and measured on whole images of the
other. Payload: the bytes a file holds for the symbols, its header and checksum apart.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.entropy_stage import analyse, compare_priors, random_crops
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.convert.load import load
from ldm_ae.data.paths import find_images
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError

QUALITIES = (24, 32, 40, 46, 56)  # 46: a step of 0.14 deviations
COLUMNS = {
    "prior": "s",
    "quality": "s",
    "step": "s",
    "bits_per_value": ".4f",
    "excess": ".5f",
    "saved": ".3f",
    "encode_s": ".4f",
    "decode_s": ".4f",
}


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--fit-images", type=Path, required=True, help="what priors are fitted to")
    parser.add_argument("--fit-count", type=int, default=226, help="how many, spread evenly")
    parser.add_argument("--fit-side", type=int, default=256, help="of their random crops, px")
    parser.add_argument("--images", type=Path, required=True, help="what is measured")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--qualities", type=int, nargs="+", default=QUALITIES)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader()
    with one_line_errors():
        if arguments.fit_images.resolve() == arguments.images.resolve():
            raise UserError("--fit-images are the measured images: fit to others")
        if not all(0 <= quality < NUM_QUALITIES for quality in arguments.qualities):
            raise UserError(f"--qualities: use 0 to {NUM_QUALITIES - 1}")
        folders = named_folders(arguments.model)
        reports = [run(name, folder, arguments, reader) for name, folder in folders.items()]
    for report in reports:
        print(report["protocol"]["model"], format_table(report["rows"], COLUMNS), sep="\n")
    write_json(arguments.out, {"models": reports, "threads": 1, **provenance()})
    finish(reader)


def run(name: str, folder: Path, arguments: argparse.Namespace, reader: Reader) -> dict[str, Any]:
    model = load(folder)
    crops = random_crops(arguments.fit_images, arguments.fit_count, arguments.fit_side, reader)
    fit_to = [analyse(model, image) for image in crops]
    paths = find_images(arguments.images)[: arguments.limit]
    items = [analyse(model, image) for _, image in reader.images(tqdm(paths, "measure"))]
    priors, rows = compare_priors(model, fit_to, items, arguments.qualities)
    protocol = {
        "model": name,
        "fit": f"{len(fit_to)} random crops of {arguments.fit_side} px",
        "images": f"{len(items)} of {arguments.images.resolve().name}, whole",
        "bits_per_value": "of the payload's bytes",
        "excess": "payload over the prior's own cross-entropy, less 1",
        "saved": "of the factorised prior's bits at the same quality",
        "fixed_bits": "ceil(log2 K)",
        "symbols": "of latents: the nearest, the same for every prior",
        "seconds": "CPU seconds of the entropy stage alone, mean of an image, one thread",
    }
    return {"protocol": protocol, "priors": priors, "rows": rows}


if __name__ == "__main__":
    main()
