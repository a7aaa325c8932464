"""Bits of each entropy model on the same latents or code indices, and what coding them takes.

python benchmarks/entropy_models.py --model DIR --fit-images DIR --images DIR --out FILE.json

Both kinds of prior are fitted to crops of the one folder and measured on whole images of the
other. Payload: the bytes a file holds for the symbols, its header and checksum apart.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.contents import IndexContent, LatentContent, content_of
from ldm_ae.codec.fitting.calibrate import Samples, fit
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.codec.format.ladder import NUM_QUALITIES, UNITS_PER_DEVIATION, quantise, step
from ldm_ae.codec.priors.file import prior_bytes
from ldm_ae.convert.load import load
from ldm_ae.data.images import load_image, pad_to_multiple, to_float
from ldm_ae.data.paths import find_images
from ldm_ae.models.base import Autoencoder

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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--model", type=Path, action="append", required=True, help="may be repeated"
    )
    parser.add_argument("--fit-images", type=Path, required=True, help="what priors are fitted to")
    parser.add_argument("--fit-count", type=int, default=226, help="how many, spread evenly")
    parser.add_argument("--fit-side", type=int, default=256, help="of their random crops, px")
    parser.add_argument("--images", type=Path, required=True, help="what is measured")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--qualities", type=int, nargs="+", default=QUALITIES)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    arguments = parser.parse_args()
    if arguments.fit_images.resolve() == arguments.images.resolve():
        sys.exit("error: --fit-images are the measured images: fit to others")
    if not all(0 <= quality < NUM_QUALITIES for quality in arguments.qualities):
        sys.exit(f"error: --qualities: use 0 to {NUM_QUALITIES - 1}")
    torch.set_num_threads(1)
    try:
        reports = [run(folder, arguments) for folder in arguments.model]
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for report in reports:
        print(report["protocol"]["model"], format_table(report["rows"], COLUMNS), sep="\n")
    write_json(arguments.out, {"models": reports, "threads": 1, **provenance()})


@torch.inference_mode()
def run(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = load(folder)
    sampled = Samples()
    for image in random_crops(arguments.fit_images, arguments.fit_count, arguments.fit_side):
        sampled.add(analyse(model, image))
    measured = Samples()
    for path in tqdm(find_images(arguments.images)[: arguments.limit], "measure"):
        measured.add(analyse(model, load_image(path)))
    rows, priors = [], {}
    for kind in get_args(Kind):
        start, cpu = time.perf_counter(), time.process_time()
        prior = fit(model, sampled, kind)
        priors[prior.name] = {
            "fit_seconds": time.perf_counter() - start,
            "fit_cpu_seconds": time.process_time() - cpu,
            "bytes": len(prior_bytes(prior)),
        }
        content = content_of(model, prior)
        qualities = [None] if content.discrete else arguments.qualities
        rows += [
            {"prior": prior.name, **measure(content, measured.items, quality)}
            for quality in qualities
        ]
    for row in rows:
        base = next(each for each in rows if each["quality"] == row["quality"])
        row["saved"] = 1 - row["bits_per_value"] / base["bits_per_value"]
        if row["fixed_bits"] is not None:
            row["saved_of_fixed"] = 1 - row["bits_per_value"] / row["fixed_bits"]
    return {
        "protocol": {
            "model": folder.resolve().parent.name,
            "fit": f"{len(sampled.items)} random crops of {arguments.fit_side} px",
            "images": f"{len(measured.items)} of {arguments.images.resolve().name}, whole",
            "bits_per_value": "of the payload's bytes",
            "excess": "payload over the prior's own cross-entropy, less 1",
            "saved": "of the factorised prior's bits at the same quality",
            "fixed_bits": "ceil(log2 K)",
            "symbols": "of latents: the nearest, the same for every prior",
            "seconds": "CPU seconds of the entropy stage alone, mean of an image, one thread",
        },
        "priors": priors,
        "rows": rows,
    }


def nearest(content: LatentContent | IndexContent, item: np.ndarray, quality: int) -> np.ndarray:
    """The same symbols for every prior; the codec's own choice depends on the prior."""
    if isinstance(content, IndexContent):
        return item
    return quantise(item, content.prior.centre, content.prior.unit, quality)


def measure(
    content: LatentContent | IndexContent, items: list[np.ndarray], quality: int | None
) -> dict[str, Any]:
    """Payloads of all items, decoded again and compared."""
    setting = quality or 0  # indices have none
    num_values = num_bytes = 0
    bits = encode = decode = 0.0
    for item in items:
        symbols = nearest(content, item, setting)
        start = time.process_time()
        payload = content.pack(symbols, setting)
        encode += time.process_time() - start
        start = time.process_time()
        found = content.unpack(payload, *symbols.shape[-2:], setting)
        decode += time.process_time() - start
        if not np.array_equal(found, symbols):
            raise ValueError("decoded symbols differ from the encoded ones")
        bits += content.bits(symbols, setting)
        num_values, num_bytes = num_values + symbols.size, num_bytes + len(payload)
    codes = getattr(content.prior, "num_codes", None)
    return {
        "quality": "-" if quality is None else str(quality),
        "step": "-" if quality is None else f"{step(quality) / UNITS_PER_DEVIATION:.3f}",
        "bits_per_value": 8 * num_bytes / num_values,
        "excess": 8 * num_bytes / bits - 1,
        "fixed_bits": None if codes is None else (codes - 1).bit_length(),
        "encode_s": encode / len(items),
        "decode_s": decode / len(items),
    }


def random_crops(folder: Path, count: int, side: int) -> Iterator[np.ndarray]:
    """One crop each of so many images, spread evenly over the sorted names."""
    paths, rng = find_images(folder), np.random.default_rng(0)
    count = min(count, len(paths))
    for index in tqdm(range(count), "crops"):
        image = load_image(paths[index * len(paths) // count])
        height, width = (min(size, side) for size in image.shape[:2])
        top = rng.integers(image.shape[0] - height + 1)
        left = rng.integers(image.shape[1] - width + 1)
        yield image[top : top + height, left : left + width]


def analyse(model: Autoencoder, image: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) => latents (1, C, h, w) or indices (1, h, w)."""
    padded, _ = pad_to_multiple(to_float(image), model.downsampling_factor)
    encode = getattr(model, "encode_indices", model.encode)
    return encode(padded)


if __name__ == "__main__":
    main()
