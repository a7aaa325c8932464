"""How well the embedded network ranks distortions that it never saw, beside LPIPS-squeeze.

    python benchmarks/perceptual_agreement.py --images KODAK --weights squeezenet1_1.safetensors

For each family of `unseen_distortions.py`: Spearman's rank correlation with LPIPS-squeeze over all
photos and strengths, and over the photos at one strength (the mean over strengths), for the
embedded network and for MS-SSIM. Writes the JSON and prints the table.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

import ldm_ae
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.bench.unseen_distortions import FAMILIES
from ldm_ae.data.images import load_image, to_float, to_uint8
from ldm_ae.data.paths import find_images
from ldm_ae.losses.embedded import embedded_card
from ldm_ae.losses.perceptual import PerceptualConfig, PerceptualLoss, build_perceptual
from ldm_ae.metrics.distortion import ms_ssim

LATENT_NOISE = (0.0, 0.25, 0.5, 1.0)  # in deviations of the photo's own latents


@dataclass
class Scores:
    """Of one family: distances as (photos, strengths), row by row."""

    lpips: list[list[float]] = field(default_factory=list)
    embedded: list[list[float]] = field(default_factory=list)
    ms_ssim: list[list[float]] = field(default_factory=list)  # 1 - MS-SSIM

    def row(self, name: str) -> dict[str, Any]:
        reference, embedded = np.array(self.lpips), np.array(self.embedded)
        structure = np.array(self.ms_ssim)
        return {
            "family": name,
            "spearman_embedded": rank_correlation(embedded, reference),
            "spearman_ms_ssim": rank_correlation(structure, reference),
            "same_strength_embedded": same_strength_correlation(embedded, reference),
            "same_strength_ms_ssim": same_strength_correlation(structure, reference),
            "mean_lpips": float(reference.mean()),
            "mean_embedded": float(embedded.mean()),
        }


def rank_correlation(values: np.ndarray, reference: np.ndarray) -> float:
    return float(spearmanr(values.ravel(), reference.ravel()).statistic)


def same_strength_correlation(values: np.ndarray, reference: np.ndarray) -> float:
    """Mean over the strengths of the correlation over photos: strength gives nothing away."""
    columns = zip(values.T, reference.T, strict=True)
    return float(np.mean([spearmanr(v, r).statistic for v, r in columns]))


class Judge:
    """Measures distorted versions of a photo; the photo's own features are computed once."""

    def __init__(self, weights: str | None) -> None:
        lpips = build_perceptual(PerceptualConfig("squeeze", weights))
        embedded = build_perceptual(PerceptualConfig("embedded"))
        assert isinstance(lpips, PerceptualLoss) and isinstance(embedded, PerceptualLoss)
        self.lpips, self.embedded = lpips, embedded

    @torch.no_grad()
    def add(self, scores: Scores, photo: np.ndarray, distorted: list[np.ndarray]) -> None:
        references = torch.cat([to_float(photo)] * len(distorted))
        images = torch.cat([to_float(pixels) for pixels in distorted])
        scores.lpips.append(self.lpips(images, references).tolist())
        scores.embedded.append(self.embedded(images, references).tolist())
        similarity = [
            ms_ssim(to_uint8(x[None]), to_uint8(y[None])).item()
            for x, y in zip(images, references, strict=True)
        ]
        scores.ms_ssim.append([1 - value for value in similarity])


def reconstructions(folder: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A family from an autoencoder on disk: its output with more and more noise in the latents."""
    model = ldm_ae.load(folder)

    @torch.no_grad()
    def reconstruct(photo: np.ndarray) -> list[np.ndarray]:
        height, width = (side // model.downsampling_factor for side in photo.shape[:2])
        factor = model.downsampling_factor
        latents = model.encode(to_float(photo[: height * factor, : width * factor]))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        noise = noise * latents.std(dim=(0, 2, 3), keepdim=True)
        return [_pixels(model.decode(latents + scale * noise), photo) for scale in LATENT_NOISE]

    return reconstruct


def autoencoder_name(folder: str) -> str:
    """runs/kl_f8/export -> "autoencoder kl_f8"."""
    parts = [part for part in Path(folder).resolve().parts if part != "export"]
    return f"autoencoder {parts[-1]}"


def _pixels(images: Tensor, photo: np.ndarray) -> np.ndarray:
    out = photo.copy()
    pixels = to_uint8(images)[0].permute(1, 2, 0).numpy()
    out[: pixels.shape[0], : pixels.shape[1]] = pixels
    return out


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of photos")
    parser.add_argument("--weights", help="torchvision's squeezenet1_1 `features.*`")
    parser.add_argument("--autoencoder", action="append", default=[], help="an export: one family")
    parser.add_argument("--limit", type=int, help="the first so many photos only")
    results = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=results / "perceptual_agreement.json")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, paths: list[Path]) -> list[dict[str, Any]]:
    judge = Judge(arguments.weights)
    families: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        name: lambda photo, apply=apply, strengths=strengths: [apply(photo, s) for s in strengths]
        for name, (apply, strengths) in FAMILIES.items()
    }
    for folder in arguments.autoencoder:
        families[autoencoder_name(folder)] = reconstructions(folder)
    scores = {name: Scores() for name in families}
    for path in tqdm(paths, unit="photo"):
        photo = load_image(path)
        for name, distort in families.items():
            judge.add(scores[name], photo, distort(photo))
    return [scores[name].row(name) for name in families]


def main() -> None:
    arguments = parse_arguments()
    paths = find_images(arguments.images)[: arguments.limit]
    if len(paths) < 3:
        raise SystemExit(f"--images {arguments.images}: {len(paths)} photos, ranks need 3 or more")
    rows = measure(arguments, paths)
    keys = [key for key in rows[0] if key != "family"]
    report = {
        "protocol": {
            "images": arguments.images.name,
            "num_images": len(paths),
            "reference": "LPIPS-squeeze v0.1 (lpips), full photos, uint8",
            "compared": "embedded network (not LPIPS); 1 - MS-SSIM",
            "spearman": "over all photos and strengths of a family",
            "same_strength": "over photos, the mean over strengths",
            "unseen_in_training": {
                name: list(strengths) for name, (_, strengths) in FAMILIES.items()
            }
            | {autoencoder_name(f): list(LATENT_NOISE) for f in arguments.autoencoder},
            "seen_in_training": embedded_card()["distortions"],
        },
        "provenance": provenance(),
        "rows": rows,
        "worst": {key: min(row[key] for row in rows) for key in keys if "mean" not in key},
    }
    write_json(arguments.out, report)
    print(format_table(rows, {"family": "s", **{key: ".3f" for key in keys}}))
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
