from pathlib import Path

import pytest
import torch
from torch import Tensor

from ldm_ae import config
from ldm_ae.bench.from_pca import FAMILIES, PicturePCA, distances, first, samples
from ldm_ae.models.build import build_model
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.quantizers.vq import VQConfig
from ldm_ae.train.config import Experiment


@pytest.fixture
def pictures() -> Tensor:
    """Of three directions, of which the last has hardly any variance, about a mean of 0.3."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(3 * 16, 3, generator=generator)).Q.T
    weights = torch.randn(200, 3, generator=generator) * torch.tensor([3.0, 1.0, 0.01])
    return (0.3 + weights @ directions).unflatten(1, (3, 4, 4))


def test_pca_keeps_the_directions_of_most_variance_and_draws_from_them(pictures: Tensor) -> None:
    pca = PicturePCA.of(pictures, 2)
    error = (pca.reconstruct(pictures) - pictures).square().sum((1, 2, 3)).mean()
    assert error == pytest.approx(0.01**2, rel=0.3)
    drawn = pca.sample(20_000, torch.Generator().manual_seed(1)).flatten(1)
    assert torch.allclose(drawn.mean(0), pictures.flatten(1).mean(0), atol=0.05)
    spread = torch.linalg.eigvalsh(torch.cov(drawn.T))[-3:]
    wanted = torch.linalg.eigvalsh(torch.cov(pictures.flatten(1).T))[-2:]
    assert torch.allclose(spread[1:], wanted, rtol=0.05)
    assert spread[0] < 1e-6
    with pytest.raises(ValueError, match="PCA to 2 values needs more than 2 pictures"):
        PicturePCA.of(pictures[:2], 2)


def test_every_way_to_draw_gives_pictures_and_the_same_ones_again(tiny_coder, pictures) -> None:
    pictures = torch.nn.functional.interpolate(pictures[:70], (16, 16))
    models = {
        "plain": build_model(PlainConfig(coder=tiny_coder)).eval(),
        "VQ": build_model(DiscreteConfig(coder=tiny_coder, codebook=VQConfig(size=8))).eval(),
    }
    pca = PicturePCA.of(pictures, 3)
    drawn = samples(models, pca, pictures, 66)
    assert list(drawn) == ["PCA", "plain, N(0, I)", "plain, fitted", "VQ, codes"]
    assert {tuple(images.shape) for images in drawn.values()} == {(66, 3, 16, 16)}
    again = samples(models, pca, pictures, 66)
    assert all(torch.equal(again[name], images) for name, images in drawn.items())


def test_a_fitted_normal_has_the_moments_of_the_latents(tiny_coder, pictures, monkeypatch) -> None:
    pictures = torch.nn.functional.interpolate(pictures, (8, 8))
    model = build_model(PlainConfig(coder=tiny_coder)).eval()
    monkeypatch.setattr(model, "decode", lambda latents: latents)
    drawn = samples({"plain": model}, PicturePCA.of(pictures, 3), pictures, 20_000)
    with torch.no_grad():
        latents = model.encode(pictures).flatten(1)
    fitted = drawn["plain, fitted"].flatten(1)
    scale = latents.std()
    assert torch.allclose(fitted.mean(0), latents.mean(0), atol=0.05 * scale)
    assert torch.allclose(torch.cov(fitted.T), torch.cov(latents.T), atol=0.05 * scale**2)
    unit = drawn["plain, N(0, I)"].flatten(1)
    assert torch.allclose(torch.cov(unit.T), torch.eye(unit.shape[1]), atol=0.05)


def test_what_is_like_the_pictures_is_nearer_and_the_floor_nearest(pictures: Tensor) -> None:
    def colours(images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)

    taken, others = pictures[:100], pictures[100:]
    drawn = {"A, near": taken + 0.05, "A, far": taken + 0.5, "B": taken}
    rows, floor = distances(drawn, {"A": taken + 0.4, "B": taken}, taken, others, colours)
    found = {row["name"]: (row["to_pictures"], row["to_kept"]) for row in rows}
    assert list(found) == ["A, kept", "B, kept", "A, near", "A, far", "B"]
    assert found["B"][0] < 1e-3 < floor < found["A, near"][0] < found["A, kept"][0]
    assert found["A, far"][1] < found["A, near"][1]  # to what A keeps, not to the pictures
    assert found["B"][1] < 1e-3


def test_pictures_are_taken_from_the_front_and_too_few_are_named() -> None:
    batches = torch.arange(10.0).view(10, 1, 1, 1).split(4)
    assert first(batches, 6).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="12 pictures are needed; the data hold 10"):
        first(batches, 12)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_is_the_config_with_as_many_values(name: str, tmp_path: Path) -> None:
    changed = [item.replace("STEPS", "10") for item in FAMILIES[name]]
    experiment = config.load(Experiment, "vae_prior", [*changed, f"data.path={tmp_path}"])
    model = build_model(experiment.model)
    side = experiment.data.size // model.downsampling_factor
    assert model.latent_channels * side**2 == 64 or side**2 == 64
