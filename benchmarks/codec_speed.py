"""Speed of the codec's entropy stage, apart from the network.

python benchmarks/codec_speed.py --model DIR --images DIR --out FILE.json

Middle crops of the images are encoded once; then their symbols are chosen, packed and unpacked
again and again by one thread, with the model's own prior and with the simplest one fitted to
these latents.
"""

from pathlib import Path

import torch

from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.entropy_stage import analyse, measure, middle_crops
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.codec.contents import Content
from ldm_ae.codec.fitting.calibrate import Samples, fit
from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
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
    parser = make_parser(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256, help="of the crops, a multiple of f")
    parser.add_argument("--count", type=int, default=64, help="how many images")
    parser.add_argument("--quality", type=int, default=46, help="of latents; 46: 0.14 deviations")
    parser.add_argument("--rounds", type=int, default=10, help="the fastest of these counts")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quality, samples, rows = arguments.quality, Samples(), []
    reader = Reader()
    with one_line_errors():
        if not 0 <= quality < NUM_QUALITIES:
            raise UserError(f"--quality {quality}: use 0 to {NUM_QUALITIES - 1}")
        codec = load_codec(arguments.model)
        for image in middle_crops(arguments.images, arguments.count, arguments.side, reader):
            samples.add(torch.from_numpy(analyse(codec.model, image))[None])
        simple = Content(codec.model, fit(codec.model, samples, "factorised"))
        contents = {codec.prior.name: codec.content, simple.prior.name: simple}
        for name, content in contents.items():
            row = measure(content, samples.items, quality, rounds=arguments.rounds)
            row["encoded_per_second"] = 1 / row.pop("encode_s")
            row["decoded_per_second"] = 1 / row.pop("decode_s")
            rows.append({"prior": name} | row)
    print(format_table(rows, COLUMNS))
    if arguments.out is not None:
        settings = {"side": arguments.side, "quality": quality, "threads": 1}
        write_json(arguments.out, {**settings, "rows": rows, **provenance()})
    finish(reader)


if __name__ == "__main__":
    main()
