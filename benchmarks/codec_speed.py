"""Speed of the codec's entropy stage, apart from the network.

python benchmarks/codec_speed.py --model DIR --images DIR --out FILE.json

Middle crops of the images are encoded once; then their symbols are packed and unpacked again and
again by one thread, with the model's own prior and with the simplest one fitted to these latents.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.contents import IndexContent, LatentContent, content_of
from ldm_ae.codec.fitting.calibrate import Samples, fit
from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.data.images import BrokenImageError, load_image, to_float
from ldm_ae.data.paths import find_images
from ldm_ae.pretrained import load_codec

COLUMNS = {
    "prior": "s",
    "values": "d",
    "bits_per_value": ".3f",
    "excess": ".5f",
    "encoded_per_second": ".0f",
    "decoded_per_second": ".0f",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256, help="of the crops, a multiple of f")
    parser.add_argument("--count", type=int, default=64, help="how many images")
    parser.add_argument("--quality", type=int, default=46, help="of latents; 46: 0.14 deviations")
    parser.add_argument("--rounds", type=int, default=10, help="the fastest of these counts")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not 0 <= arguments.quality < NUM_QUALITIES:
        sys.exit(f"error: --quality {arguments.quality}: use 0 to {NUM_QUALITIES - 1}")
    torch.set_num_threads(1)
    try:
        rows = run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(format_table(rows, COLUMNS))
    if arguments.out is not None:
        settings = {"side": arguments.side, "quality": arguments.quality, "threads": 1}
        write_json(arguments.out, {**settings, "rows": rows, **provenance()})


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    codec = load_codec(arguments.model)
    samples = Samples()
    with torch.inference_mode():
        for image in crops(arguments.images, arguments.side, arguments.count):
            samples.add(torch.from_numpy(codec.content.analyse(to_float(image))))
    simple = content_of(codec.model, fit(codec.model, samples, "factorised"))
    contents = {codec.prior.name: codec.content, simple.prior.name: simple}
    return [
        {"prior": name} | measure(content, samples.items, arguments.quality, arguments.rounds)
        for name, content in contents.items()
    ]


def crops(folder: Path, side: int, count: int) -> list[np.ndarray]:
    """The middles of so many images that are large enough, uint8 (side, side, 3)."""
    found = []
    for path in find_images(folder):
        try:
            image = load_image(path) if len(found) < count else None
        except BrokenImageError:
            continue
        if image is not None and min(image.shape[:2]) >= side:
            top, left = ((size - side) // 2 for size in image.shape[:2])
            found.append(image[top : top + side, left : left + side])
    if not found:
        raise ValueError(f"{folder} has no image of {side} px or more")
    return found


def measure(
    content: LatentContent | IndexContent,
    items: Sequence[np.ndarray],
    quality: int,
    rounds: int,
) -> dict[str, Any]:
    """Latents per second of packing and unpacking, and bytes over the prior's cross-entropy.

    items: what `content.analyse` makes of one image each, all of one size.
    """
    symbols = [content.symbols(item, quality) for item in items]
    payloads = [content.pack(item, quality) for item in symbols]
    height, width = symbols[0].shape[-2:]

    def decode() -> None:
        for payload, wanted in zip(payloads, symbols, strict=True):
            found = content.unpack(payload, height, width, quality)
            assert (found[..., 0, 0] == wanted[..., 0, 0]).all()

    num_values = sum(item.size for item in symbols)
    num_bits = sum(8 * len(payload) for payload in payloads)
    return {
        "values": symbols[0].size,
        "bits_per_value": num_bits / num_values,
        "excess": num_bits / sum(content.bits(item, quality) for item in symbols) - 1,
        "encoded_per_second": len(items)
        / fastest(lambda: [pack(content, item, quality) for item in items], rounds),
        "decoded_per_second": len(items) / fastest(decode, rounds),
    }


def pack(content: LatentContent | IndexContent, item: np.ndarray, quality: int) -> bytes:
    """Both parts of encoding: which symbols, and their payload."""
    return content.pack(content.symbols(item, quality), quality)


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
