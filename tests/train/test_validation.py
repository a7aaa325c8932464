import pytest
import torch

from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.vq import VQConfig
from ldm_ae.quantizers.codebook import CodebookConfig
from ldm_ae.train.validation import validate

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)
IMAGES = [torch.rand(1, 3, 32, 40) * 2 - 1 for _ in range(2)]


def test_scores_and_latents_against_the_model_itself() -> None:
    model = build_model(KLConfig(coder=CODER, latent_channels=2)).eval()
    scores, grid = validate(model, IMAGES[:1], None)
    with torch.no_grad():
        latents = model.encode(IMAGES[0])
        rounded = (model.reconstruct(IMAGES[0]).clamp(-1, 1) * 127.5 + 127.5).round()
    truth = (IMAGES[0] * 127.5 + 127.5).round()
    first = 10 * torch.log10(255**2 / (rounded - truth).square().mean())
    assert scores["psnr"] == pytest.approx(float(first), abs=1e-4)
    assert scores["latent_mean/1"] == pytest.approx(float(latents[:, 1].mean()), abs=1e-5)
    assert scores["latent_std/0"] == pytest.approx(float(latents[:, 0].std()), rel=1e-4)
    assert grid.ndim == 3 and grid.shape[2] == 3


def test_kl_per_channel_and_active_channels() -> None:
    model = build_model(KLConfig(coder=CODER, latent_channels=2)).eval()
    with torch.no_grad():
        model.quant_conv.weight[1] = 0  # the second channel says nothing
        model.quant_conv.weight[0] *= 100
    scores, _ = validate(model, IMAGES, None)
    with torch.no_grad():
        nats = torch.cat([model.posterior(image).kl() for image in IMAGES])
    assert scores["latent_kl/1"] == pytest.approx(float(nats[:, 1].mean()), rel=1e-5)
    assert scores["active_channels"] == 1


def test_each_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for config in (KLConfig(coder=CODER), VQConfig(coder=CODER)):
        model = build_model(config).eval()
        calls = []
        model.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        validate(model, IMAGES, None)
        assert len(calls) == len(IMAGES)


def test_ranks_share_the_images_and_agree_with_one_process(monkeypatch) -> None:
    model = build_model(VQConfig(coder=CODER)).eval()
    images = [torch.rand(1, 3, 16, 16) * 2 - 1 for _ in range(5)]
    expected, grid = validate(model, images, None)
    shares = {}
    for rank in (0, 1, 0, 1):  # each rank's rows first, then what either makes of both
        monkeypatch.setattr("ldm_ae.train.validation.world", lambda rank=rank: (rank, 2))

        def gather(rows, rank=rank):
            shares[rank] = rows
            return [shares.get(other, rows + rows) for other in (0, 1)]

        monkeypatch.setattr("ldm_ae.train.validation.gather_from_ranks", gather)
        scores, shared_grid = validate(model, images, None)
    assert [len(rows) for rows in shares.values()] == [3, 2]
    assert scores == expected
    assert (shared_grid == grid).all()


def test_codebook_usage_is_reported() -> None:
    config = VQConfig(coder=CODER, codebook=CodebookConfig(size=4))
    model = build_model(config).eval()
    scores, _ = validate(model, IMAGES, None)
    assert scores["codebook_tokens"] == 2 * 16 * 20
    with torch.no_grad():
        indices = torch.cat([model.encode_indices(image).flatten() for image in IMAGES])
    assert scores["codebook_share"] == len(indices.unique()) / 4


def test_the_embedded_network_is_not_called_lpips() -> None:
    perceptual = build_perceptual(PerceptualConfig(net="embedded"))
    scores, _ = validate(build_model(KLConfig(coder=CODER)).eval(), IMAGES, perceptual)
    assert "lpips" not in scores and scores["embedded"] > 0
    assert "not LPIPS" in scores["perceptual_net"]
