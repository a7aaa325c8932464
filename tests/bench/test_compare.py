import math

import pytest
import torch
from torch import Tensor

from ldm_ae.bench.compare import (
    COLUMNS,
    CodecMethod,
    ModelMethod,
    PCAMethod,
    measure,
    missing_row,
)
from ldm_ae.bench.image_codecs import ImageCodec
from ldm_ae.bench.pca import fit_patch_pca
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.metrics.table import ON_PAIRS, QUICK
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.quantizers.vq import VQConfig

PANEL = open_panel(QUICK)
CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)


@pytest.fixture
def images() -> list[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 32), (33, 21))
    return [
        (f"{i}.png", torch.rand(1, 3, h, w, generator=generator) * 2 - 1)
        for i, (h, w) in enumerate(sizes)
    ]


def test_a_continuous_model_costs_fp16_numbers(images: list[tuple[str, Tensor]]) -> None:
    model = build_model(KLConfig(coder=CODER, latent_channels=5)).eval()
    row = measure(ModelMethod("mine", model), images, PANEL)
    assert (row["name"], row["kind"], row["num_images"]) == ("mine", "kl", 2)
    assert (row["downsampling_factor"], row["latent_channels"]) == (2, 5)
    assert [image["bits"] for image in row["images"]] == [16 * 5 * 20 * 16, 16 * 5 * 17 * 11]
    assert row["images"][0]["bpp"] == 20.0
    assert row["images"][0]["compression_ratio"] == 24 / 20
    mean_bpp = (20 + 16 * 5 * 17 * 11 / (33 * 21)) / 2
    assert row["bpp"] == pytest.approx(mean_bpp)
    assert row["compression_ratio"] == pytest.approx(24 / mean_bpp)
    assert "codebook" not in row


def test_a_codebook_costs_whole_bits_and_its_use_is_counted(images) -> None:
    torch.manual_seed(0)
    config = DiscreteConfig(
        coder=CODER, latent_channels=4, code_channels=3, codebook=VQConfig(size=9)
    )
    model = build_model(config).eval()
    row = measure(ModelMethod("codes", model), images, PANEL)
    assert row["latent_channels"] == 3
    assert [image["bits"] for image in row["images"]] == [4 * 20 * 16, 4 * 17 * 11]
    codebook = row["codebook"]
    assert (codebook["size"], codebook["num_tokens"]) == (9, 20 * 16 + 17 * 11)
    assert 1 / 9 <= codebook["share"] <= 1
    assert 1 <= codebook["perplexity"] <= 9 * codebook["share"] + 1e-9


def test_each_image_is_encoded_once_and_as_reconstruct_does(images) -> None:
    model = build_model(DiscreteConfig(coder=CODER, codebook=VQConfig(size=9))).eval()
    method, calls = ModelMethod("codes", model), []
    with torch.no_grad():
        expected = [model.reconstruct(image) for _, image in images]
        model.encoder.register_forward_hook(lambda *_: calls.append(1))
        for (_, image), same in zip(images, expected, strict=True):
            torch.testing.assert_close(method.reconstruct(image)[0], same)
    assert len(calls) == len(images)


def test_pca_costs_what_a_latent_of_its_size_does(images) -> None:
    pca = fit_patch_pca((image for _, image in images), 4, 6)
    row = measure(PCAMethod("pca-f4-c6", pca, 2), images, PANEL)
    assert row["images"][1]["bits"] == 16 * 6 * 9 * 6
    assert (row["kind"], row["num_fit_images"]) == ("pca", 2)


def test_a_file_is_charged_whole(images) -> None:
    codec = ImageCodec("jpeg", 50)
    row = measure(CodecMethod(codec), images, PANEL)
    for image_row, (_, image) in zip(row["images"], images, strict=True):
        pixels = ((image[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert image_row["bits"] == 8 * len(codec.encode(pixels))


def test_every_null_has_its_reason(images) -> None:
    missing = dict.fromkeys(set(ON_PAIRS) - set(QUICK), "no weights")
    panel = Panel(PANEL.judges, missing, PANEL.device)
    row = measure(CodecMethod(ImageCodec("jpeg", 50)), images, panel)
    assert row["lpips_vgg"] is None and "no weights" in row["reasons"]["lpips_vgg"]
    assert row["ms_ssim"] is None and "161 pixels" in row["reasons"]["ms_ssim"]
    absent = missing_row("pca-f8-c4", "pca", "no training images")
    for some_row in (row, absent, *row["images"]):
        nulls = {key for key in COLUMNS if some_row[key] is None}
        assert nulls == set(some_row["reasons"])


def test_no_gradient_is_kept(images) -> None:
    model = build_model(KLConfig(coder=CODER)).eval()
    seen: list[bool] = []
    model.decoder.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    measure(ModelMethod("mine", model), images, PANEL)
    assert seen == [False, False]


def test_the_best_possible_row_is_still_json_safe(images) -> None:
    """A lossless method has infinite PSNR, which JSON cannot hold."""

    class Lossless:
        name, kind = "lossless", "codec"

        def reconstruct(self, image: Tensor) -> tuple[Tensor, int]:
            return image, 24 * image.shape[2] * image.shape[3]

        def facts(self) -> dict[str, object]:
            return {}

    row = measure(Lossless(), images, PANEL)
    assert row["psnr"] is None and "infinite" in row["reasons"]["psnr"]
    assert math.isclose(row["ssim"], 1) and row["compression_ratio"] == 1
