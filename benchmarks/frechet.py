"""Fréchet distance of coders on features that train nothing here, beside its floor.

python benchmarks/frechet.py --model [NAME=]DIR --images DIR --codecs avif jpeg --out FILE.json

The features are EfficientNet-Lite0's: it is not FID, and compares only within one set of images.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.efficientnet import NAME, load_efficientnet
from ldm_ae.bench.frechet import PROTOCOL, frechet_rows
from ldm_ae.bench.image_codecs import use_one_thread
from ldm_ae.bench.model_coder import QUALITIES
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.rate_distortion import CODECS, open_coders
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.data.reading import Reader

COLUMNS = {
    "name": "s",
    "quality": "g",
    "bpp": ".4f",
    "frechet": ".4g",
    "floor": ".4g",
    "num_samples": "d",
}


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser, required=False)
    parser.add_argument("--images", required=True, help="folder of test images, or: embedded")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--codecs", nargs="*", choices=list(CODECS), default=["avif", "jpeg"])
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES), help="ours")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the others have one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    use_one_thread()
    reader = Reader()
    with one_line_errors():
        photos = list_photos(arguments.images, arguments.limit, reader)
        folders = named_folders(arguments.model)
        coders, _, missing = open_coders(folders, arguments.qualities, arguments.codecs)
        network = load_efficientnet()
        total = len(photos) * sum(len(coder.points) for coder in coders.values())
        with tqdm(total=total, unit="image", desc="measure") as progress:
            rows = frechet_rows(list(coders.values()), photos, network, progress.update)
    protocol = PROTOCOL | {"network": NAME, "num_images": len(photos)}
    content = {"protocol": protocol, "rows": rows, "missing": missing}
    write_json(arguments.out, content | provenance())
    print(format_table(rows, COLUMNS))
    print(f"written: {arguments.out}")
    finish(reader)


if __name__ == "__main__":
    main()
