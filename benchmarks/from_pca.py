"""PCA, a plain autoencoder, a VAE, VQ and dVAE of the same small pictures, side by side.

python benchmarks/from_pca.py --data kind=parquet path=DIR --out benchmarks/results/from_pca.json \
    --pictures docs/images

Trains each for as many steps (configs/vae_prior.yaml and what ldm_ae/bench/from_pca.py changes
in it), measures what it keeps of held-out pictures, and draws from it: a latent space that is to be
drawn from must look like what is drawn. A stopped script goes on where it stopped.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ldm_ae import config
from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.efficientnet import NAME, load_efficientnet
from ldm_ae.bench.from_pca import (
    FAMILIES,
    PROTOCOL,
    VALUES,
    PicturePCA,
    distances,
    first,
    in_batches,
    samples,
)
from ldm_ae.bench.panel import add_panel_arguments, panel_of
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.bench.short_training import trained
from ldm_ae.convert.load import load
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.metrics.panel import evaluate, mean_scores
from ldm_ae.train.config import Experiment
from ldm_ae.train.export_run import training_crops
from ldm_ae.viz.gallery import Tile, save_gallery

CONFIG = "vae_prior"
SHOWN = 8
FRECHET = {"name": "s", "to_pictures": ".4g", "to_kept": ".4g"}

Reconstruct = Callable[[Tensor], Tensor]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", nargs="+", required=True, metavar="KEY=VALUE", help="as data.*")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of the two PNGs")
    parser.add_argument("--runs", type=Path, default=Path("runs/from_pca"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--count", type=int, default=2048, help="samples, and pictures beside them")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for all of them")
    add_panel_arguments(parser)
    with one_line_errors():
        run(parser.parse_args())


def run(arguments: argparse.Namespace) -> None:
    places = [f"data.{item}" for item in arguments.data]
    steps = [f"train.steps={arguments.steps}", f"train.validate_every={arguments.steps}"]
    experiment = config.load(Experiment, CONFIG, [*places, *arguments.set])
    data = open_data(experiment.data)
    pictures, others = first(training_crops(experiment, data), 2 * arguments.count).chunk(2)
    pca = PicturePCA.of(pictures, VALUES)
    panel = panel_of(arguments)
    features = load_efficientnet()
    models = {}
    for name, changed in FAMILIES.items():
        own = [item.replace("STEPS", str(arguments.steps)) for item in changed]
        asked = [*own, *places, *steps, *arguments.set]
        models[name] = load(trained(name, CONFIG, arguments.runs / name, asked))
    coders = {"PCA": pca.reconstruct} | {name: model.reconstruct for name, model in models.items()}
    held_out = [to_float(image[None]) for _, image in validation_images(data)]
    kept = [
        {"name": name} | mean_scores(evaluate(reconstruct, held_out, panel)).values
        for name, reconstruct in coders.items()
    ]
    drawn = samples(models, pca, pictures, arguments.count)
    with torch.inference_mode():
        again = {name: in_batches(coder, pictures) for name, coder in coders.items()}
    found, floor = distances(drawn, again, pictures, others, features)
    content = {
        "protocol": PROTOCOL | panel.protocol() | {"network": NAME, "samples": arguments.count},
        "training": {"steps": arguments.steps, "data": arguments.data, "set": arguments.set},
        "reconstruction": kept,
        "frechet": found,
        "floor": floor,
    }
    write_json(arguments.out, content | provenance())
    embedded = config.load(Experiment, CONFIG, ["data.kind=embedded"])
    photos = [to_float(image[None]) for _, image in validation_images(open_data(embedded.data))]
    show(arguments.pictures / "from_pca_kept.png", coders, photos[:SHOWN])
    rows = [_row(name, list(images[:SHOWN].split(1))) for name, images in drawn.items()]
    save_gallery(arguments.pictures / "from_pca_drawn.png", rows)
    print(format_table(kept, {"name": "s"} | dict.fromkeys(panel.names, ".4g")))
    print(format_table(found, FRECHET))
    print(f"floor: {floor:.4g}\nwritten: {arguments.out}, {arguments.pictures}")


def show(path: Path, coders: Mapping[str, Reconstruct], photos: list[Tensor]) -> None:
    """Photos, and below them what each coder keeps."""
    with torch.inference_mode():
        rows = [_row(name, [coder(photo) for photo in photos]) for name, coder in coders.items()]
    save_gallery(path, [_row("original", photos), *rows])


def _row(name: str, images: list[Tensor]) -> list[Tile]:
    pixels = [
        to_uint8(image)[0].permute(1, 2, 0).numpy().repeat(2, 0).repeat(2, 1) for image in images
    ]
    return [Tile("" if index else name, "", picture) for index, picture in enumerate(pixels)]


if __name__ == "__main__":
    main()
