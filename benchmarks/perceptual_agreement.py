"""How well the embedded network ranks distortions that it never saw, beside LPIPS-squeeze.

python benchmarks/perceptual_agreement.py --images KODAK --weights DIR

Spearman's rank correlations for each family of `ldm_ae.bench.unseen_distortions`, for the embedded
network and for MS-SSIM. Writes the JSON and prints the table.
"""

from functools import partial
from pathlib import Path

from tqdm import tqdm

import ldm_ae
from ldm_ae.bench.command import finish, make_parser, one_line_errors
from ldm_ae.bench.perceptual_agreement import (
    COMPARED,
    LATENT_NOISE,
    REFERENCE,
    agreement,
    noisy_reconstructions,
    unseen_families,
)
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.bench.unseen_distortions import FAMILIES
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.losses.embedded import embedded_card
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import open_panel


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", required=True, help="a folder of photos")
    parser.add_argument("--weights", help="torchvision's squeezenet1_1 `features.*`, or its folder")
    parser.add_argument("--autoencoder", action="append", default=[], help="an export: one family")
    parser.add_argument("--limit", type=int, help="the first so many photos only")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "perceptual_agreement.json")
    arguments = parser.parse_args()
    families, strengths = unseen_families(), {name: list(s) for name, (_, s) in FAMILIES.items()}
    networks = Networks(weights={"squeeze": arguments.weights} if arguments.weights else None)
    reader = Reader()
    with one_line_errors():
        for folder in arguments.autoencoder:
            name = autoencoder_name(folder)
            families[name] = partial(noisy_reconstructions, ldm_ae.load(folder))
            strengths[name] = list(LATENT_NOISE)
        photos = list_photos(arguments.images, arguments.limit, reader)
        if len(photos) < 3:
            raise UserError(f"--images {arguments.images}: {len(photos)} photos, ranks need 3")
        panel = open_panel([REFERENCE, *COMPARED], networks)
        rows = agreement(families, tqdm(photos, unit="photo"), panel)
    keys = [key for key in rows[0] if key != "family"]
    protocol = {
        "images": Path(arguments.images).name,
        "num_images": len(photos),
        "reference": REFERENCE,
        "metrics": panel.protocol(),
        "spearman": "over all photos and strengths of a family",
        "same_strength": "over photos, the mean over strengths",
        "unseen_in_training": strengths,
        "seen_in_training": embedded_card()["distortions"],
    }
    worst = {key: min(row[key] for row in rows) for key in keys if "mean" not in key}
    write_json(arguments.out, {"protocol": protocol, "rows": rows, "worst": worst} | provenance())
    print(format_table(rows, {"family": "s", **{key: ".3f" for key in keys}}))
    print(f"written to {arguments.out}")
    finish(reader)


def autoencoder_name(folder: str) -> str:
    """runs/kl_f8/export -> "autoencoder kl_f8"."""
    parts = [part for part in Path(folder).resolve().parts if part != "export"]
    return f"autoencoder {parts[-1]}"


if __name__ == "__main__":
    main()
