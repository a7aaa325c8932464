"""Every metric of the table on JPEG, WebP and AVIF at about 0.15, 0.3 and 0.5 bits per pixel.

python benchmarks/panel.py --images kodak --weights DIR --out benchmarks/results/panel.json

One quality for all images, chosen so that the mean rate on Kodak is nearest. Prints a Markdown
table and writes it, and what each metric costs, as JSON.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.image_codecs import TUNED, Format, PillowCoder, Variant, use_one_thread
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.panel import add_panel_arguments, cpu_milliseconds, formats, panel_of
from ldm_ae.bench.photos import list_photos, to_tensor
from ldm_ae.bench.report import markdown_table, provenance, write_json
from ldm_ae.data.reading import Reader

QUALITIES: dict[Format, tuple[float, ...]] = {
    "jpeg": (5, 11, 22),
    "webp": (1, 12, 32),
    "avif": (18, 35, 45),
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--codecs", nargs="+", choices=list(QUALITIES), default=list(QUALITIES))
    parser.add_argument("--cache", type=Path, help="folder from which a stopped run goes on")
    parser.add_argument("--limit", type=int, help="only the first N images")
    add_panel_arguments(parser)
    reader = Reader()
    with one_line_errors():
        arguments = parser.parse_args()
        torch.set_num_threads(1)
        use_one_thread()
        photos = list_photos(arguments.images, arguments.limit, reader)
        panel = panel_of(arguments)
        coders = [_coder(name) for name in arguments.codecs]
        total = sum(len(coder.points) for coder in coders) * len(photos)
        with tqdm(total=total, unit="file") as bar:
            reports = [
                measure_coder(coder, photos, panel, arguments.cache, bar.update) for coder in coders
            ]
        rows = [
            {"name": f"{report['codec']} {point['quality']:g}"} | point
            for report in reports
            for point in report["points"]
        ]
        times = cpu_milliseconds(panel, to_tensor(photos[0].pixels()))
        content = {"metrics": panel.protocol(), "rows": rows, "milliseconds": times}
        write_json(arguments.out, content | {"codecs": reports} | provenance())
        print(markdown_table(rows, {"name": "s", "bpp": ".3f"} | formats(panel.names)))
        for name, time in times.items():
            print(f"{name}: {time['see']:.0f} ms an image, {time['compare']:.0f} ms a comparison")
    finish(reader)


def _coder(format: Format) -> PillowCoder:
    tuned = TUNED[format][0]
    return PillowCoder(format, [Variant(tuned.name, tuned.options, QUALITIES[format])])


if __name__ == "__main__":
    main()
