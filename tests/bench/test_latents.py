import numpy as np
import pytest
import torch
from skimage import data

from ldm_ae.bench.latents import BorrowedLatents, RawLatents, pack_codes, unpack_codes
from ldm_ae.bench.pca import fit_patch_pca
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.errors import UserError
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4)
PHOTO = data.astronaut()[50:83, 200:221]  # 33 x 21: 17 x 11 positions at f2
HEADER = 4


@pytest.fixture
def discrete() -> RawLatents:
    config = DiscreteConfig(
        coder=CODER, latent_channels=4, code_channels=3, codebook=VQConfig(size=9)
    )
    return RawLatents("codes", build_model(config).eval())


def test_a_continuous_latent_costs_sixteen_bits_a_number() -> None:
    model = build_model(KLConfig(coder=CODER, latent_channels=5)).eval()
    coder = RawLatents("mine", model)
    file = coder.encode(PHOTO)
    assert len(file) == HEADER + 2 * 5 * 17 * 11
    with torch.no_grad():
        expected = to_uint8(model.reconstruct(to_float(PHOTO)))[0].permute(1, 2, 0).numpy()
    difference = np.abs(coder.decode(file).astype(int) - expected)
    assert difference.max() <= 1  # latents are rounded to fp16
    assert (coder.facts()["downsampling_factor"], coder.facts()["latent_channels"]) == (2, 5)
    assert "codebook" not in coder.facts()


def test_a_code_costs_whole_bits_and_its_use_is_counted(discrete: RawLatents) -> None:
    passes: list[int] = []
    discrete.model.encoder.register_forward_hook(lambda *_: passes.append(1))
    file = discrete.encode(PHOTO)
    assert len(file) == HEADER + -(-4 * 17 * 11 // 8)  # four bits for each of nine codes
    with torch.no_grad():
        expected = to_uint8(discrete.model.reconstruct(to_float(PHOTO)))[0].permute(1, 2, 0)
    assert np.array_equal(discrete.decode(file), expected.numpy())
    codebook = discrete.facts()["codebook"]
    assert (codebook["size"], codebook["num_tokens"]) == (9, 17 * 11)
    assert 1 / 9 <= codebook["share"] <= 1
    assert len(passes) == 2  # one of them is reconstruct's: an image is encoded once


def test_pca_costs_what_a_latent_of_its_size_does() -> None:
    pca = fit_patch_pca([to_float(data.astronaut()[:64, :64])], 4, 6)
    coder = RawLatents("pca-f4-c6", pca, num_fit_images=1)
    file = coder.encode(PHOTO)
    assert len(file) == HEADER + 2 * 6 * 9 * 6
    expected = to_uint8(pca.reconstruct(to_float(PHOTO)))[0].permute(1, 2, 0).numpy()
    assert np.abs(coder.decode(file).astype(int) - expected).max() <= 1
    assert coder.facts() == {"downsampling_factor": 4, "latent_channels": 6, "num_fit_images": 1}


@pytest.mark.parametrize("num_codes", [1, 2, 9, 1024, 1025, 1 << 16])
def test_codes_come_back_from_whole_bits(num_codes: int) -> None:
    codes = np.random.default_rng(0).integers(0, num_codes, (5, 7))
    codes[0, 0] = num_codes - 1
    file = pack_codes(codes, num_codes)
    assert len(file) == -(-35 * (num_codes - 1).bit_length() // 8)
    assert np.array_equal(unpack_codes(file, 35, num_codes), codes.ravel())


def test_no_gradient_is_kept() -> None:
    model = build_model(KLConfig(coder=CODER)).eval()
    seen: list[bool] = []
    for part in (model.encoder, model.decoder):
        part.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    coder = RawLatents("mine", model)
    coder.decode(coder.encode(PHOTO))
    assert seen == [False, False]


def test_what_cannot_be_compared_is_refused() -> None:
    grey = CoderConfig(channels=(8, 8), num_res_blocks=1, norm_groups=4, image_channels=1)
    with pytest.raises(ValueError, match="grey has 1 image channels"):
        RawLatents("grey", build_model(KLConfig(coder=grey)))
    model = build_model(KLConfig(coder=CODER)).eval()
    with torch.no_grad():
        model.decoder.conv_out.bias.fill_(torch.nan)
    coder = RawLatents("broken", model)
    with pytest.raises(ValueError, match="broken: a reconstruction is not finite"):
        coder.decode(coder.encode(PHOTO))


def test_borrowed_latents_are_scaled_by_the_one_and_unscaled_by_the_other() -> None:
    teacher, small = (
        build_model(KLConfig(coder=CODER, latent_channels=5)).eval() for _ in range(2)
    )
    teacher.scaling_factor, teacher.shift_factor = 0.5, 0.25
    small.scaling_factor, small.shift_factor = 2.0, -1.0
    coder = BorrowedLatents("small", small, teacher, latents_of="teacher")
    with torch.no_grad():
        images = to_float(PHOTO[:32, :20])
        scaled = (teacher.encode(images) - 0.25) * 0.5
        expected = to_uint8(small.decode(scaled / 2 - 1))[0].permute(1, 2, 0).numpy()
    found = coder.decode(coder.encode(PHOTO[:32, :20]))
    assert np.abs(found.astype(int) - expected).max() <= 1  # latents are rounded to fp16
    assert coder.facts()["latents_of"] == "teacher"


def test_latents_of_another_shape_are_not_borrowed(discrete: RawLatents) -> None:
    few, many = (build_model(KLConfig(coder=CODER, latent_channels=c)).eval() for c in (4, 5))
    with pytest.raises(UserError, match="small has 4 latent channels at f2, the encoder 5 at f2"):
        BorrowedLatents("small", few, many)
    for pair in ((discrete.model, few), (few, discrete.model)):
        with pytest.raises(UserError, match="without a codebook"):
            BorrowedLatents("small", *pair)
