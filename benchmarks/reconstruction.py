"""Reconstruction quality and rate of autoencoders beside PCA, JPEG and WebP.

python benchmarks/reconstruction.py --model DIR --images DIR --out FILE.json --train-images DIR

Prints a table; writes FILE.json (means and per-image values) and FILE.png (the plot).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ldm_ae.bench.compare import (
    CodecMethod,
    Method,
    ModelMethod,
    PCAMethod,
    measure,
    missing_row,
)
from ldm_ae.bench.image_codecs import JPEG_QUALITIES, WEBP_QUALITIES, ImageCodec
from ldm_ae.bench.panel import add_panel_arguments, formats, labels, measured, panel_of
from ldm_ae.bench.pca import PatchCovariance
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.convert.load import load
from ldm_ae.data.images import BrokenImageError, load_image, to_float
from ldm_ae.data.paths import find_images
from ldm_ae.viz.plots import save_rate_plot

PROTOCOL = {
    "size": "native; a model or PCA pads by repeating edges to a multiple of f and crops back",
    "latents": "deterministic: the mode for KL, hard codes for VQ and dVAE; not rounded to fp16",
    "rounding": "both images are clamped and rounded to uint8 before every metric",
    "bpp": "jpeg, webp: bytes of the file, header included; latents raw, no entropy coding: "
    "16 bits (fp16) per number for continuous ones and PCA, ceil(log2 K) bits per code",
    "compression_ratio": "24 bits per pixel over bpp; of a mean: over the mean bpp",
    "mean": "plain mean of the per-image values; null if any image has none",
    "pca": "linear code of f x f patches, mean removed, as many values per patch as the latent "
    "(for a codebook: as a code vector) has, fitted on the training images",
}


def main() -> None:
    try:
        run(parse_arguments())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="an export or any diffusers AutoencoderKL / VQModel folder; may be repeated",
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of test images")
    parser.add_argument("--out", type=Path, required=True, help="FILE.json; the plot is FILE.png")
    parser.add_argument("--train-images", type=Path, help="folder of images PCA is fitted on")
    add_panel_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first N test images")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--jpeg", type=int, nargs="*", default=JPEG_QUALITIES, metavar="QUALITY")
    parser.add_argument("--webp", type=int, nargs="*", default=WEBP_QUALITIES, metavar="QUALITY")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Raises ValueError or OSError for input that cannot be used, before anything is written."""
    check(arguments)
    device = torch.device(arguments.device)
    paths = find_images(arguments.images)[: arguments.limit]
    models = open_models(arguments.model, device)
    panel = panel_of(arguments, device)
    pca_methods, rows = fit_pca(models, arguments)
    methods: list[Method] = [*models, *pca_methods]
    methods += [CodecMethod(ImageCodec("jpeg", quality)) for quality in arguments.jpeg]
    methods += [CodecMethod(ImageCodec("webp", quality)) for quality in arguments.webp]
    with tqdm(total=len(methods) * len(paths), unit="image", desc="measure") as progress:
        for method in methods:
            progress.set_postfix_str(method.name)
            images = load_images(paths, arguments.images, device, progress)
            rows.append(measure(method, images, panel))
    protocol = PROTOCOL | {
        "images": {"folder": arguments.images.resolve().name, "count": len(paths)},
        "metrics": panel.protocol(),
    }
    order = {"pca": 1, "jpeg": 2, "webp": 2}  # after the models
    write(arguments.out, protocol, sorted(rows, key=lambda row: order.get(row["kind"], 0)))


def write(out: Path, protocol: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print the table; write the JSON and the plot beside it."""
    plot = out.with_suffix(".png")
    write_json(out, {"protocol": protocol, "rows": rows} | provenance())
    names = measured(rows)
    save_rate_plot(plot, rows, labels(names))
    columns = {"name": "s"} | formats(names) | {"bpp": ".4f", "compression_ratio": ".1f"}
    print(format_table(rows, columns))
    print(f"written: {out} and {plot}")


def check(arguments: argparse.Namespace) -> None:
    """Raises ValueError for arguments that are wrong whatever the folders hold."""
    out, device, train_images = arguments.out, arguments.device, arguments.train_images
    if out.suffix != ".json" or out.is_dir():
        raise ValueError(f"--out {out}: name a file that ends in .json")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit {arguments.limit}: measure at least 1 image")
    if train_images is not None and train_images.resolve() == arguments.images.resolve():
        raise ValueError(f"--train-images {train_images}: are the test images; fit PCA on others")


def load_images(
    paths: Sequence[Path], root: Path, device: torch.device, progress: Any
) -> Iterator[tuple[str, Tensor]]:
    """(name under root, (1, 3, H, W) in [-1, 1]). A broken test image is an error, not a skip."""
    for path in paths:
        try:
            image = to_float(load_image(path)).to(device)
        except BrokenImageError as error:
            raise ValueError(f"{path}: {error}") from error
        yield path.relative_to(root).as_posix(), image
        progress.update()


def open_models(arguments: Sequence[str], device: torch.device) -> list[ModelMethod]:
    """From `NAME=DIR`, or `DIR`, which is then named after its last part."""
    models: dict[str, ModelMethod] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        path = Path(folder if equals else argument)
        name = name if equals else path.resolve().name
        if name in models:
            raise ValueError(f"--model {argument}: a second {name}; say --model OTHER_NAME={path}")
        model = load(path).to(device)
        if model.image_channels != 3:
            raise ValueError(
                f"--model {argument}: has {model.image_channels} image channels; the table "
                "compares with JPEG and WebP in RGB, so a model needs 3"
            )
        models[name] = ModelMethod(name, model)
    return list(models.values())


def fit_pca(
    models: Sequence[ModelMethod], arguments: argparse.Namespace
) -> tuple[list[PCAMethod], list[dict[str, Any]]]:
    """A PCA for each latent size among the models; or rows that say why there is none."""
    sizes = sorted(
        {(each.model.downsampling_factor, each.model.latent_channels) for each in models}
    )
    names = {(f, c): f"pca-f{f}-c{c}" for f, c in sizes}
    if arguments.train_images is None:
        reason = "no training images were given: --train-images DIR"
        return [], [missing_row(name, "pca", reason) for name in names.values()]
    paths = find_images(arguments.train_images, "--train-images")
    covariances = {f: PatchCovariance(f) for f, _ in sizes}
    num_fitted = 0
    for path in tqdm(paths, unit="image", desc="fit PCA"):
        try:
            image = to_float(load_image(path))
        except BrokenImageError as error:
            tqdm.write(f"skipped {path}: {error}", file=sys.stderr)
            continue
        num_fitted += 1
        for covariance in covariances.values():
            covariance.update(image)
    fitted, absent = [], []
    for (f, c), name in names.items():
        try:
            fitted.append(PCAMethod(name, covariances[f].fit(c), num_fitted))
        except ValueError as error:
            absent.append(missing_row(name, "pca", str(error)))
    return fitted, absent


if __name__ == "__main__":
    main()
