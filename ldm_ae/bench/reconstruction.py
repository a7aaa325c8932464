"""Autoencoders beside PCA, JPEG and WebP: a row of scores and rates for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ldm_ae.bench.coder import Coder
from ldm_ae.bench.image_codecs import RAW_BITS_PER_PIXEL, Format, PillowCoder, Variant
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.measure import measure_coder
from ldm_ae.bench.pca import PatchCovariance
from ldm_ae.bench.photos import Photo
from ldm_ae.data.images import to_float
from ldm_ae.data.paths import find_images
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Panel
from ldm_ae.viz.rd_plots import Line

JPEG_QUALITIES = (5, 10, 20, 30, 50, 75, 90)
WEBP_QUALITIES = (0, 10, 30, 50, 75, 90)
PROTOCOL = {
    "size": "native; a model or PCA pads by repeating edges to a multiple of f and crops back",
    "latents": "deterministic: the mode for KL, hard codes of a codebook; rounded to fp16",
    "rounding": "both images are clamped and rounded to uint8 before every metric",
    "bpp": "8 times the bytes of a file over the pixels; of jpeg and webp, header included; "
    "latents raw behind four bytes of size, no entropy coding: 16 bits (fp16) per number, "
    "ceil(log2 K) bits per code",
    "compression_ratio": "24 bits per pixel over bpp; of a mean: over the mean bpp",
    "mean": "plain mean of the per-image values; null if any image has none",
    "pca": "linear code of f x f patches, mean removed, as many values per patch as the latent "
    "(for a codebook: as a code vector) has, fitted on the training images",
}


def plain_codec(format: Format, *qualities: float) -> PillowCoder:
    """A format with none of Pillow's options."""
    return PillowCoder(format, [Variant("", (), qualities)])


def compare(coders: Iterable[Coder], photos: Sequence[Photo], panel: Panel) -> list[dict[str, Any]]:
    """A row for each point of each coder: means, and under `images` the values of each."""
    coders = [coder for coder in coders if coder.points]
    rows: list[dict[str, Any]] = []
    total = sum(len(coder.points) for coder in coders) * len(photos)
    with tqdm(total=total, unit="image", desc="measure") as progress:
        for coder in coders:
            progress.set_postfix_str(coder.name)
            report = measure_coder(coder, photos, panel, after_row=progress.update)
            facts: dict[str, Any] = coder.facts() if isinstance(coder, RawLatents) else {}
            for index, (point, mean) in enumerate(zip(coder.points, report["points"], strict=True)):
                setting = f"-q{point.quality:g}" if len(coder.qualities) > 1 else ""
                row = {"name": coder.name + setting, "coder": coder.name} | _with_ratio(mean)
                images = [
                    {key: image[key] for key in ("name", "width", "height")}
                    | _with_ratio(image["rows"][index])
                    for image in report["images"]
                ]
                rows.append(row | facts | {"num_images": len(images), "images": images})
    return rows


def lines_of(rows: Iterable[Mapping[str, Any]], metric: str) -> list[Line]:
    """For a plot: a line for each coder."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row[metric] is not None:
            points.setdefault(row["coder"], []).append((row["bpp"], row[metric]))
    return [Line(name, found) for name, found in points.items()]


def _with_ratio(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {"compression_ratio": RAW_BITS_PER_PIXEL / row["bpp"]}


def fit_pcas(
    sizes: Iterable[tuple[int, int]], train_images: Path | None, reader: Reader
) -> tuple[list[RawLatents], dict[str, str]]:
    """A PCA for each latent size (f, c), fitted on the images of a folder; and by name why others
    could not be fitted."""
    names = {(f, c): f"pca-f{f}-c{c}" for f, c in sorted(set(sizes))}
    if train_images is None:
        reason = "no training images were given: --train-images DIR"
        return [], dict.fromkeys(names.values(), reason)
    covariances = {f: PatchCovariance(f) for f, _ in names}
    num_images = 0
    paths = find_images(train_images, "--train-images")
    for _, image in reader.images(tqdm(paths, unit="image", desc="fit PCA")):
        num_images += 1
        for covariance in covariances.values():
            covariance.update(to_float(image))
    fitted, missing = [], {}
    for (f, c), name in names.items():
        try:
            fitted.append(RawLatents(name, covariances[f].fit(c), num_fit_images=num_images))
        except UserError as error:
            missing[name] = str(error)
    return fitted, missing


def missing_row(name: str, columns: Iterable[str], reason: str) -> dict[str, Any]:
    """The row of what could not be run: every value None, for `reason`."""
    values = dict.fromkeys([*columns, "bpp", "compression_ratio"])
    reasons = dict.fromkeys(values, reason)
    return {"name": name, "coder": name} | values | {"reasons": reasons, "images": []}
