import pytest
import torch

from ldm_ae.data.images import to_float
from ldm_ae.metrics.panel import open_panel
from ldm_ae.metrics.table import QUICK
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.quantizers.vq import VQConfig
from ldm_ae.train.validation import _rows, validate

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)
PIXELS = [torch.randint(0, 256, (3, 32, 40), dtype=torch.uint8) for _ in range(2)]
IMAGES = [to_float(image[None]) for image in PIXELS]
PANEL = open_panel(QUICK)


def test_scores_and_latents_against_the_model_itself() -> None:
    model = build_model(KLConfig(coder=CODER, latent_channels=2)).eval()
    scores, grid = validate(model, PIXELS[:1], PANEL)
    with torch.no_grad():
        latents = model.encode(IMAGES[0])
        rounded = (model.reconstruct(IMAGES[0]).clamp(-1, 1) * 127.5 + 127.5).round()
    truth = PIXELS[0].float()
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
    scores, _ = validate(model, PIXELS, PANEL)
    with torch.no_grad():
        nats = torch.cat([model.posterior(image).kl() for image in IMAGES])
    assert scores["latent_kl/1"] == pytest.approx(float(nats[:, 1].mean()), rel=1e-5)
    assert scores["active_channels"] == 1


def test_images_are_encoded_once_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldm_ae.train.validation.BATCH_PIXELS", 2 * 32 * 40)
    for config in (KLConfig(coder=CODER), DiscreteConfig(coder=CODER)):
        model = build_model(config).eval()
        sizes = []
        model.encoder.register_forward_hook(lambda _, x, __, s=sizes: s.append(len(x[0])))
        validate(model, [*PIXELS, PIXELS[0]], PANEL)
        assert sizes == [2, 1]


def test_ranks_share_the_images_and_agree_with_one_process(monkeypatch) -> None:
    model = build_model(DiscreteConfig(coder=CODER)).eval()
    images = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(9)]
    expected, grid = validate(model, images, PANEL)
    shares: dict[int, list] = {}
    for rank in (0, 1, 0, 1):  # each rank's rows first, then what either makes of both
        monkeypatch.setattr("ldm_ae.train.validation.world", lambda rank=rank: (rank, 2))

        def gather(rows, rank=rank):
            shares[rank] = rows
            return [shares.get(0, rows), shares.get(1, rows[:4])]

        monkeypatch.setattr("ldm_ae.train.validation.gather_from_ranks", gather)
        scores, shared_grid = validate(model, images[rank::2], PANEL)
    assert [len(rows) for rows in shares.values()] == [5, 4]
    assert [sum(row.pictures is not None for row in rows) for rows in shares.values()] == [3, 3]
    # Batches of other sizes: a convolution may sum in another order.
    assert scores.pop("ms_ssim") is expected.pop("ms_ssim") is None  # too small
    assert scores == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert (shared_grid == grid).mean() > 0.99


def test_a_rank_without_an_image_takes_part(monkeypatch) -> None:
    model = build_model(KLConfig(coder=CODER)).eval()
    (row,) = _rows(model, PIXELS[0][None], PANEL, None, num_shown=1)
    monkeypatch.setattr("ldm_ae.train.validation.world", lambda: (1, 2))
    monkeypatch.setattr("ldm_ae.train.validation.gather_from_ranks", lambda rows: [[row], rows])
    assert validate(model, [], PANEL)[0]["psnr"] == row.scores.values["psnr"]


def test_codebook_usage_is_reported() -> None:
    config = DiscreteConfig(coder=CODER, codebook=VQConfig(size=4))
    model = build_model(config).eval()
    scores, _ = validate(model, PIXELS, PANEL)
    assert scores["codebook_tokens"] == 2 * 16 * 20
    with torch.no_grad():
        indices = torch.cat([model.encode_indices(image).flatten() for image in IMAGES])
    assert scores["codebook_share"] == len(indices.unique()) / 4
