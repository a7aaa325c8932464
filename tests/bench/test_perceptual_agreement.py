import numpy as np
import pytest
import torch
from skimage import data

from ldm_ae.bench.perceptual_agreement import (
    COMPARED,
    LATENT_NOISE,
    REFERENCE,
    agreement,
    correlations,
    noisy_reconstructions,
    unseen_families,
)
from ldm_ae.bench.photos import list_photos
from ldm_ae.metrics.judges import PixelJudge
from ldm_ae.metrics.panel import Panel
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

PHOTO = data.astronaut()[:41, :50]


def test_every_unseen_distortion_gets_worse_with_its_strength() -> None:
    photo = data.astronaut()[100:228, 100:228]
    for name, distort in unseen_families().items():
        versions = distort(photo)
        assert all(v.shape == photo.shape and v.dtype == np.uint8 for v in versions), name
        errors = [((v.astype(float) - photo) ** 2).mean() for v in versions]
        assert errors == sorted(errors) and errors[0] > 0, name


def test_correlations_are_of_ranks_over_all_and_at_one_strength() -> None:
    reference = [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]  # photos x strengths
    same_order = [[10.0, 400.0], [20.0, 500.0], [30.0, 600.0]]
    by_strength_alone = [[3.0, 6.0], [2.0, 5.0], [1.0, 4.0]]
    row = correlations(
        {REFERENCE: reference, COMPARED[0]: same_order, COMPARED[1]: by_strength_alone}
    )
    assert row[f"spearman_{COMPARED[0]}"] == row[f"same_strength_{COMPARED[0]}"] == 1
    assert row[f"spearman_{COMPARED[1]}"] > 0.5
    assert row[f"same_strength_{COMPARED[1]}"] == -1
    assert row[f"mean_{REFERENCE}"] == 3.5


def test_a_similarity_is_turned_into_a_distance() -> None:
    def error(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.double() - y).square().mean((1, 2, 3))

    judges = {
        REFERENCE: PixelJudge(error),
        "embedded": PixelJudge(error),
        "ms_ssim": PixelJudge(lambda x, y: 1 / (1 + error(x, y))),
    }
    panel = Panel(judges, {}, torch.device("cpu"))
    families = {"noise": lambda photo: [photo // 2, photo // 4, photo // 8]}
    (row,) = agreement(families, list_photos("embedded"), panel)
    assert row["family"] == "noise"
    assert row["spearman_embedded"] == row["spearman_ms_ssim"] == pytest.approx(1)


def test_a_metric_that_cannot_be_had_is_an_error() -> None:
    panel = Panel({}, {REFERENCE: "no weights"}, torch.device("cpu"))
    with pytest.raises(ValueError, match="LPIPS-squeeze is needed: no weights"):
        agreement({}, [], panel)


def test_reconstructions_differ_by_the_noise_and_keep_the_edge() -> None:
    coder = CoderConfig(channels=(8, 8, 8), num_res_blocks=1, norm_groups=4)
    versions = noisy_reconstructions(build_model(KLConfig(coder=coder)).eval(), PHOTO)
    assert len(versions) == len(LATENT_NOISE)
    assert all(np.array_equal(v[40:], PHOTO[40:]) for v in versions)
    assert all(np.array_equal(v[:, 48:], PHOTO[:, 48:]) for v in versions)
    changes = [np.abs(v[:40, :48].astype(float) - versions[0][:40, :48]).mean() for v in versions]
    assert changes == sorted(changes) and changes[1] > 0
