"""Bytes, loss and read speed of latents kept on disk: fp32, fp16, int8, npz, LZMA, WebP, ours.

python benchmarks/latent_storage.py --model DIR --images DIR --out FILE.json

Each image is one file; the loss is that of the decoded picture against uncoded latents.
"""

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.latent_storage import (
    NUM_READS,
    ChannelRange,
    Judge,
    add_comparisons,
    measure,
    our_storage,
    storages,
)
from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.photos import list_photos, to_tensor
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.metrics.table import METRICS
from ldm_ae.pretrained import load_codec
from ldm_ae.viz.gallery import centre_crop

QUALITIES = (36, 40, 44, 48)
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
    parser = make_parser(__doc__)
    parser.add_argument("--model", required=True, help="a KL model with its prior")
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), help="ours")
    parser.add_argument("--limit", type=int, help="only the first N images")
    add_panel_arguments(parser)
    reader = Reader()
    with one_line_errors():
        run(parser.parse_args(), reader)
    finish(reader)


def run(arguments: argparse.Namespace, reader: Reader) -> None:
    torch.set_num_threads(1)
    codec, side = load_codec(arguments.model), arguments.size
    if side % codec.model.downsampling_factor:
        raise UserError(f"--size {side}: take a multiple of {codec.model.downsampling_factor}")
    photos = list_photos(arguments.images, arguments.limit, reader)
    pictures = [centre_crop(photo.pixels(), side) for photo in photos]
    sizes = {picture.shape for picture in pictures}
    if sizes != {(side, side, 3)}:
        raise UserError(f"--size {side}: some images are smaller: {sorted(sizes)}")
    panel = panel_of(arguments)
    ways = [our_storage(codec, quality, side) for quality in arguments.qualities]
    latents = [codec.encode(picture).content for picture in pictures]
    ways = storages(latents[0].shape, ChannelRange.of(latents)) + ways
    judges = [Judge(codec, panel.see(to_tensor(picture))) for picture in pictures]
    rows = []
    with tqdm(total=len(ways) * len(latents), unit="file", desc="measure") as progress:
        for way in ways:
            progress.set_postfix_str(way.name)
            rows.append(measure(way, latents, judges, progress.update))
    add_comparisons(rows, panel.names)
    protocol = PROTOCOL | {
        "metrics": panel.protocol(),
        "size": side,
        "num_images": len(pictures),
        "prior": codec.prior.name,
    }
    write_json(arguments.out, {"protocol": protocol, "rows": rows} | provenance())
    lost = {f"{name}_lost": METRICS[name].format for name in panel.judges}
    print(format_table(rows, TABLE | lost))
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
