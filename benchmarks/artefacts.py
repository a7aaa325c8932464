"""Grid textures and faded colours of autoencoders.

python benchmarks/artefacts.py --model [NAME=]DIR --images DIR --out FILE.json

The excess of the error's power at the periods of the decoder's grid, 8, 4 and 2 pixels, over its
neighbours (within 0.1 no texture is woven), and what becomes of saturated patches.
"""

from pathlib import Path

from tqdm import tqdm

from ldm_ae.bench.artefacts import PERIODS, artefacts_of
from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.convert.load import load
from ldm_ae.data.reading import Reader


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--limit", type=int, help="only the first N images")
    arguments, reader = parser.parse_args(), Reader()
    with one_line_errors():
        photos = list_photos(arguments.images, arguments.limit, reader)
        rows = []
        for name, folder in named_folders(arguments.model).items():
            coder = RawLatents(name, load(folder))
            images = (photo.pixels() for photo in tqdm(photos, unit="image", desc=name))
            (point,) = coder.points
            found = artefacts_of(
                (pixels, coder.decode(coder.encode(pixels, point), point)) for pixels in images
            )
            excess = {f"excess at {p} px": value for p, value in found.grid_excess().items()}
            rows.append({"name": name} | excess | found.saturated())
        report = {"images": len(photos), "rows": rows} | provenance()
        write_json(arguments.out, report)
        columns = {f"excess at {p} px": "+.3f" for p in PERIODS}
        print(format_table(rows, {"name": "s"} | columns | {"error": ".2f", "left": ".3f"}))
    finish(reader)


if __name__ == "__main__":
    main()
