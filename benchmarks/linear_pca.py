"""A linear autoencoder trained with squared error finds PCA: errors, angles, and a figure.

python benchmarks/linear_pca.py --out benchmarks/results/linear_pca.json

Bourlard and Kamp 1988; Baldi and Hornik 1989. On all patches of the embedded photos.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import NullLocator
from torch import Tensor
from tqdm import tqdm

from ldm_ae.bench.linear import LinearAutoencoder, LinearConfig, fit_least_squares
from ldm_ae.bench.pca import PatchCovariance, PatchPCA, principal_angles, to_patches
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.data.folder import EMBEDDED_TRAIN, embedded_photos
from ldm_ae.data.images import load_image, to_float
from ldm_ae.files import replacing

SIZES = {8: (1, 2, 4, 8), 4: (3,)}  # side of a patch: values kept of each
MAX_ITERATIONS = 1_000  # eight values need most: the eighth and ninth variances are close


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json; the figure is FILE.png")
    out = parser.parse_args().out
    rows = []
    pictures = {}
    for patch, sizes in SIZES.items():
        patches = embedded_patches(patch)
        covariance = PatchCovariance(patch)
        covariance.update(patches)
        for size in tqdm(sizes, unit="size", desc=f"{patch}x{patch}"):
            torch.manual_seed(0)
            model = LinearAutoencoder(LinearConfig(patch=patch, latent_channels=size)).double()
            fit_least_squares(model, patches, MAX_ITERATIONS)
            pca = covariance.fit(size)
            rows.append(compare(model, pca, patches))
            pictures[patch, size] = (model.decoder.weight.detach(), pca)
    for row in rows:
        print(row)
    write_json(out, {"data": "embedded photos, training side", "rows": rows, **provenance()})
    draw(rows, pictures[8, 8], out.with_suffix(".png"))


def embedded_patches(patch: int) -> Tensor:
    """All whole patches of the embedded photos' training side, (N, 3, f, f) in fp64."""
    rows = []
    for path in embedded_photos(EMBEDDED_TRAIN):
        photo = to_float(load_image(path))
        height, width = (side // patch * patch for side in photo.shape[2:])
        rows.append(to_patches(photo[..., :height, :width], patch).flatten(0, 2))
    return torch.cat(rows).double().view(-1, 3, patch, patch)


def compare(model: LinearAutoencoder, pca: PatchPCA, images: Tensor) -> dict[str, float | int]:
    """Mean squared error per value of both, and the largest angle between the two spans."""
    with torch.no_grad():
        trained = float((model(images).images - images).square().mean())
    residual = images.flatten(1) - pca.mean
    residual -= residual @ pca.components.T @ pca.components
    exact = float(residual.square().mean())
    angles = principal_angles(model.decoder.weight.detach().flatten(1), pca.components)
    return {
        "patch": model.downsampling_factor,
        "latent_channels": model.latent_channels,
        "num_patches": len(images),
        "mse_linear_autoencoder": trained,
        "mse_pca": exact,
        "excess": trained / exact - 1,
        "largest_principal_angle_degrees": float(angles.max()),
    }


def draw(rows: list[dict[str, float | int]], learned: tuple[Tensor, PatchPCA], path: Path) -> None:
    """Left: error against size. Right: what the decoder's span and PCA's have in common."""
    rows = [row for row in rows if row["patch"] == 8]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=[1, 1.4])
    sizes = [row["latent_channels"] for row in rows]
    axes[0].loglog(
        sizes, [row["mse_pca"] for row in rows], "o-", label="PCA", linewidth=4, alpha=0.4
    )
    label = "linear autoencoder"
    axes[0].loglog(sizes, [row["mse_linear_autoencoder"] for row in rows], "x--", label=label)
    axes[0].set(xlabel="values per 8x8 patch", ylabel="mean squared error, [-1, 1]")
    axes[0].set_xticks(sizes, labels=[str(size) for size in sizes])
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].legend()
    weight, pca = learned
    # PCA's components, and their projections onto the span that the decoder learned.
    basis = torch.linalg.qr(weight.flatten(1).T).Q
    strips = [pca.components, pca.components @ basis @ basis.T]
    picture = torch.cat([_strip(strip) for strip in strips], dim=0)
    axes[1].imshow(picture.numpy())
    axes[1].set(xticks=[], yticks=[4, 13], title="eight components")
    axes[1].set_yticklabels(["PCA", "learned"])
    figure.tight_layout()
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=110)


def _strip(components: Tensor) -> Tensor:
    """(k, 3 8 8) -> one row of k patches, (9, 9 k, 3) in [0, 1]."""
    patches = components.view(-1, 3, 8, 8)
    scaled = 0.5 + 0.5 * patches / patches.abs().amax(dim=(1, 2, 3), keepdim=True)
    padded = torch.nn.functional.pad(scaled, (0, 1, 0, 1), value=1.0)
    return torch.cat(list(padded), dim=2).permute(1, 2, 0)


if __name__ == "__main__":
    main()
