"""Bytes, loss and read speed of latents kept on disk: fp32, fp16, int8, npz, LZMA, WebP, ours.

python benchmarks/latent_storage.py --model DIR --images DIR --out FILE.json

Each image is one file; the loss is that of the decoded picture against uncoded latents.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from ldm_ae.bench.latent_storage import ChannelRange, Latents, Storage, storages
from ldm_ae.bench.rate_distortion import Scorer
from ldm_ae.bench.rd_run import NO_LPIPS, list_photos
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.codec import Analysis, Codec
from ldm_ae.data.images import to_uint8
from ldm_ae.losses.perceptual import Backbone, PerceptualConfig
from ldm_ae.metrics.evaluate import open_perceptual
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
    "psnr_lost, lpips_lost": "of the decoded picture, rounded to uint8, against the original: the "
    "mean over images with uncoded fp32 latents less that with the stored ones (for LPIPS: minus)",
    "reads_per_second": "files in memory to float32 latents, one thread, processor time, the best "
    f"of {NUM_READS} rounds over all images",
}
TABLE = {
    "name": "s",
    "bytes": ".0f",
    "bits_per_value": ".2f",
    "of_int8": ".3f",
    "psnr_lost": ".3f",
    "lpips_lost": ".4f",
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
    parser.add_argument("--lpips", choices=[*get_args(Backbone), "none"], default="squeeze")
    parser.add_argument("--lpips-weights", help="the LPIPS backbone as a file, torchvision's names")
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
    perceptual, name_or_reason = open_perceptual(
        PerceptualConfig(arguments.lpips, arguments.lpips_weights)
    )
    if perceptual is None:
        print(f"LPIPS is null: {name_or_reason}", file=sys.stderr)
    latents = [codec.encode(picture).content for picture in pictures]
    judges = [Judge(codec, Scorer(picture, perceptual)) for picture in pictures]
    ways = storages(latents[0].shape, ChannelRange.of(latents))
    ways += [our_storage(codec, quality, arguments.size) for quality in arguments.qualities]
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(ways) * len(latents), unit="file", desc="measure") as progress:
        for way in ways:
            progress.set_postfix_str(way.name)
            rows.append(measure(way, latents, judges, progress))
    compare(rows)
    protocol = PROTOCOL | {
        "lpips": NO_LPIPS if perceptual is None else perceptual.name,
        "size": arguments.size,
        "num_images": len(pictures),
        "prior": codec.prior.name,
    }
    write_json(arguments.out, {"protocol": protocol, "rows": rows} | provenance())
    print(format_table(rows, TABLE))
    print(f"written: {arguments.out}")


class Judge:
    """Scores of latents against one original; several ways store the same ones."""

    def __init__(self, codec: Codec, scorer: Scorer) -> None:
        self.codec, self.scorer = codec, scorer
        self.known: dict[bytes, dict[str, float | None]] = {}

    def scores(self, latents: Latents) -> dict[str, float | None]:
        key = latents.tobytes()
        if key not in self.known:
            self.known[key] = self.scorer.psnr_and_lpips(picture_of(latents, self.codec))
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
        "psnr": mean([score["psnr"] for score in scores]),
        "lpips": mean([score["lpips"] for score in scores]),
    }


def compare(rows: list[dict[str, Any]]) -> None:
    """Add what is relative: to int8's bytes, to the quality of the uncoded latents."""
    by_name = {row["name"]: row for row in rows}
    uncoded, int8 = by_name["fp32"], by_name["int8"]
    for row in rows:
        row["of_int8"] = row["bytes"] / int8["bytes"]
        row["psnr_lost"] = difference(uncoded["psnr"], row["psnr"])
        row["lpips_lost"] = difference(row["lpips"], uncoded["lpips"])


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
