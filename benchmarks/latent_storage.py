"""Bytes, loss and read speed of latents kept on disk: fp32, fp16, int8, npz, LZMA, WebP, ours.

python benchmarks/latent_storage.py --model DIR --images DIR --out FILE.json

Each image is one file; the loss is that of the decoded picture against uncoded latents.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ldm_ae.bench.latent_storage import ChannelRange, Latents, Storage, storages
from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.rate_distortion import to_tensor
from ldm_ae.bench.rd_run import list_photos
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.codec import Analysis, Codec
from ldm_ae.data.images import to_uint8
from ldm_ae.metrics.panel import Original
from ldm_ae.metrics.table import METRICS
from ldm_ae.pretrained import load_codec
from ldm_ae.viz.gallery import centre_crop

QUALITIES = (36, 40, 44, 48)
NUM_READS = 3
PROTOCOL = {
    "images": "RGB, the middle of each, --size pixels a side",
    "latents": "deterministic: the mode for KL",
    "bytes": "of one file per image, header included; fp32, fp16 and int8 as safetensors",
    "int8": "uint8, affine per channel between the lowest and highest value over these images; "
    "the range itself is not counted",
    "WebP": "the channels of int8 one above the other as a grey picture, method 6",
    "ours": "the .lae file; the prior lies beside the model and is not counted",
    "*_lost": "of the decoded picture, rounded to uint8, against the original: by how much the "
    "mean over images is worse than with uncoded fp32 latents",
    "reads_per_second": "files in memory to float32 latents, one thread, processor time, the best "
    f"of {NUM_READS} rounds over all images",
}
TABLE = {
    "name": "s",
    "bytes": ".0f",
    "bits_per_value": ".2f",
    "of_int8": ".3f",
    "reads_per_second": ".0f",
}


def main() -> None:
    try:
        run(parse_arguments())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="a KL model with its prior")
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), help="ours")
    parser.add_argument("--limit", type=int, help="only the first N images")
    add_panel_arguments(parser)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Raises ValueError or OSError for input that cannot be used."""
    torch.set_num_threads(1)
    codec = load_codec(arguments.model)
    if codec.content.discrete:
        raise ValueError(f"--model {arguments.model}: has code indices, no latents to compare")
    pictures = [
        centre_crop(photo.pixels(), arguments.size)
        for photo in list_photos(arguments.images, arguments.limit)
    ]
    sizes = {picture.shape for picture in pictures}
    if sizes != {(arguments.size, arguments.size, 3)}:
        raise ValueError(f"--size {arguments.size}: some images are smaller: {sorted(sizes)}")
    if arguments.size % codec.model.downsampling_factor:
        raise ValueError(
            f"--size {arguments.size}: take a multiple of {codec.model.downsampling_factor}"
        )
    panel = panel_of(arguments)
    latents = [codec.encode(picture).content for picture in pictures]
    judges = [Judge(codec, panel.see(to_tensor(picture))) for picture in pictures]
    ways = storages(latents[0].shape, ChannelRange.of(latents))
    ways += [our_storage(codec, quality, arguments.size) for quality in arguments.qualities]
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(ways) * len(latents), unit="file", desc="measure") as progress:
        for way in ways:
            progress.set_postfix_str(way.name)
            rows.append(measure(way, latents, judges, progress))
    compare(rows, panel.names)
    protocol = PROTOCOL | {
        "metrics": panel.protocol(),
        "size": arguments.size,
        "num_images": len(pictures),
        "prior": codec.prior.name,
    }
    write_json(arguments.out, {"protocol": protocol, "rows": rows} | provenance())
    lost = {f"{name}_lost": METRICS[name].format for name in panel.judges}
    print(format_table(rows, TABLE | lost))
    print(f"written: {arguments.out}")


class Judge:
    """Scores of latents against one original; several ways store the same ones."""

    def __init__(self, codec: Codec, original: Original) -> None:
        self.codec, self.original = codec, original
        self.known: dict[bytes, dict[str, float | None]] = {}

    def scores(self, latents: Latents) -> dict[str, float | None]:
        key = latents.tobytes()
        if key not in self.known:
            picture = to_tensor(picture_of(latents, self.codec))
            self.known[key] = self.original.scores(picture)[0].values
        return self.known[key]


def our_storage(codec: Codec, quality: int, size: int) -> Storage:
    def save(latents: Latents) -> bytes:
        # To the nearest: training wants the latents, not what looks best for the bits.
        return codec.pack(Analysis(latents, size, size, False, None), quality, lagrangian=0)

    def load(file: bytes) -> Latents:
        return codec.latents(file)[0].numpy()

    return Storage(f"ours, quality {quality}", save, load)


def measure(
    way: Storage, latents: list[Latents], judges: list[Judge], progress: Any
) -> dict[str, Any]:
    """A row without the columns that need the others'."""
    files = [way.save(item) for item in latents]
    seconds = min(read_seconds(way, files) for _ in range(NUM_READS))
    scores = []
    for file, judge in zip(files, judges, strict=True):
        scores.append(judge.scores(way.load(file)))
        progress.update()
    num_bytes = sum(map(len, files)) / len(files)
    return {
        "name": way.name,
        "bytes": num_bytes,
        "bits_per_value": 8 * num_bytes / latents[0].size,
        "reads_per_second": len(files) / seconds,
    } | {name: mean([score[name] for score in scores]) for name in scores[0]}


def compare(rows: list[dict[str, Any]], metrics: list[str]) -> None:
    """Add what is relative: to int8's bytes, to the quality of the uncoded latents."""
    by_name = {row["name"]: row for row in rows}
    uncoded, int8 = by_name["fp32"], by_name["int8"]
    for row in rows:
        row["of_int8"] = row["bytes"] / int8["bytes"]
        for name in metrics:
            pair = (uncoded[name], row[name])
            more, less = pair if METRICS[name].higher_is_better else reversed(pair)
            row[f"{name}_lost"] = difference(more, less)


def difference(more: float | None, less: float | None) -> float | None:
    return None if more is None or less is None else more - less


def read_seconds(way: Storage, files: list[bytes]) -> float:
    start = time.process_time()
    for file in files:
        way.load(file)
    return max(time.process_time() - start, 1e-9)


@torch.inference_mode()
def picture_of(latents: Latents, codec: Codec) -> np.ndarray:
    """(C, h, w) => (H, W, 3) uint8."""
    device = next(codec.model.parameters()).device
    images = codec.model.decode(torch.from_numpy(np.array(latents))[None].to(device))
    return to_uint8(images)[0].permute(1, 2, 0).cpu().numpy()


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


if __name__ == "__main__":
    main()
