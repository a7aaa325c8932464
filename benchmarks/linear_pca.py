"""A linear autoencoder trained with squared error finds PCA: errors, angles, and a figure.

python benchmarks/linear_pca.py --out benchmarks/results/linear_pca.json

Bourlard and Kamp 1988; Baldi and Hornik 1989. On all patches of the embedded photos.
"""

from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ldm_ae.bench.command import make_parser
from ldm_ae.bench.linear import (
    LinearAutoencoder,
    LinearConfig,
    compare_with_pca,
    fit_least_squares,
)
from ldm_ae.bench.pca import PatchCovariance, PatchPCA, to_patches
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.data.folder import EMBEDDED_TRAIN, embedded_photos
from ldm_ae.data.images import load_image, to_float
from ldm_ae.files import replacing

SIZES = {8: (1, 2, 4, 8), 4: (3,)}  # side of a patch: values kept of each
MAX_ITERATIONS = 1_000  # eight values need most: the eighth and ninth variances are close
COLUMNS = {"patch": "d", "latent_channels": "d", "mse_pca": ".6f", "excess": ".2e"}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json; the figure is FILE.png")
    out = parser.parse_args().out
    rows, fitted = [], {}
    for patch, sizes in SIZES.items():
        patches = embedded_patches(patch)
        covariance = PatchCovariance(patch)
        covariance.update(patches)
        for size in tqdm(sizes, unit="size", desc=f"{patch}x{patch}"):
            torch.manual_seed(0)
            model = LinearAutoencoder(LinearConfig(patch=patch, latent_channels=size)).double()
            fit_least_squares(model, patches, MAX_ITERATIONS)
            pca = covariance.fit(size)
            rows.append(compare_with_pca(model, pca, patches))
            fitted[patch, size] = (model.decoder.weight.detach(), pca)
    print(format_table(rows, COLUMNS | {"largest_principal_angle_degrees": ".3f"}))
    write_json(out, {"data": "embedded photos, training side", "rows": rows, **provenance()})
    draw([row for row in rows if row["patch"] == 8], *fitted[8, 8], out.with_suffix(".png"))


def embedded_patches(patch: int) -> Tensor:
    """All whole patches of the embedded photos' training side, (N, 3, f, f) in fp64."""
    rows = []
    for path in embedded_photos(EMBEDDED_TRAIN):
        photo = to_float(load_image(path))
        height, width = (side // patch * patch for side in photo.shape[2:])
        rows.append(to_patches(photo[..., :height, :width], patch).flatten(0, 2))
    return torch.cat(rows).double().view(-1, 3, patch, patch)


def draw(rows: list[dict[str, float]], weight: Tensor, pca: PatchPCA, path: Path) -> None:
    """Left: error against size. Right: PCA's components, and their projections onto the span that
    the decoder learned."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
    sizes = [row["latent_channels"] for row in rows]
    left.loglog(sizes, [row["mse_pca"] for row in rows], "o-", label="PCA", lw=4, alpha=0.4)
    errors = [row["mse_linear_autoencoder"] for row in rows]
    left.loglog(sizes, errors, "x--", label="linear autoencoder")
    left.set(xlabel="values per 8x8 patch", ylabel="mean squared error, [-1, 1]")
    left.set_xticks(sizes, labels=[str(size) for size in sizes])
    left.set_xticks([], minor=True)
    left.legend()
    basis = torch.linalg.qr(weight.flatten(1).T).Q
    strips = [pca.components, pca.components @ basis @ basis.T]
    right.imshow(torch.cat([strip(components) for components in strips]).numpy())
    right.set(xticks=[], yticks=[4, 13], yticklabels=["PCA", "learned"], title="eight components")
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=110)


def strip(components: Tensor) -> Tensor:
    """(k, 3 8 8) -> one row of k patches, (9, 9 k, 3) in [0, 1]."""
    patches = components.view(-1, 3, 8, 8)
    scaled = 0.5 + 0.5 * patches / patches.abs().amax(dim=(1, 2, 3), keepdim=True)
    return torch.cat(list(F.pad(scaled, (0, 1, 0, 1), value=1.0)), dim=2).permute(1, 2, 0)


if __name__ == "__main__":
    main()
