"""Round trips of the codec: decoded symbols must equal the encoded ones, however either side ran.

python benchmarks/round_trip.py --model [NAME=]DIR --images DIR --out FILE.json

Ends with 1 if a symbol differs.
"""

import sys
from pathlib import Path

from ldm_ae.bench.command import add_models, finish, make_parser, named_folders, one_line_errors
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.bench.round_trip import LARGE, QUALITIES, WAYS, check_all, special_pictures
from ldm_ae.data.reading import Reader


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--images", required=True, help="folder of pictures, or: embedded")
    parser.add_argument("--limit", type=int, help="only the first N images")
    parser.add_argument("--large", action="store_true", help=f"a picture of {LARGE}, too")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    reader = Reader()
    with one_line_errors():
        photos = list_photos(arguments.images, arguments.limit, reader)
        pictures = {photo.name: photo.pixels() for photo in photos}
        pictures |= special_pictures()
        results = check_all(named_folders(arguments.model), pictures, arguments.large)
    for name, result in results.items():
        print(f"{name}, prior {result['prior']}: {result['files']} files of {len(pictures)}")
        print(f"pictures, read {result['reads']} times; differing: {result['differing'] or 'none'}")
    if arguments.out is not None:
        names = {"ways": [way.name for way in WAYS], "pictures": list(pictures)}
        names["qualities"] = list(QUALITIES)
        write_json(arguments.out, names | {"models": results} | provenance())
    if any(result["differing"] for result in results.values()):
        sys.exit(1)
    finish(reader)


if __name__ == "__main__":
    main()
