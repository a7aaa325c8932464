"""Exports inside real diffusers pipelines."""

import diffusers
import numpy as np
import pytest
import torch

import ldm_ae
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.export.export import export
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 8, 16, 16), num_res_blocks=1, norm_groups=4)  # f8
SIDE = 64  # of what the pipelines make


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Folders that were written, by channels and whether the rest was measured."""
    return tmp_path_factory.mktemp("exports"), {}


@pytest.fixture
def folder_for(make_model, images, exports):
    """The export of a model for a case."""
    place, written = exports

    def folder(case, measured=False):
        key = f"{case.channels}-{measured}"
        if key not in written:
            config = KLConfig(coder=CODER, latent_channels=case.channels)
            if case.channels == 3:
                config = DiscreteConfig(coder=CODER, latent_channels=3, codebook=VQConfig(size=64))
            model = make_model(config)
            with torch.no_grad():  # far from unit variance and no mean: what is forgotten shows
                model.quant_conv.weight *= 3
                model.quant_conv.bias += 0.5
            written[key] = export(
                model,
                place / key,
                batches=[images],
                sample_size=SIDE,
                resolved_config="",
                card={},
                per_channel=measured,
                shift=measured,
            )
        return written[key]

    return folder


@pytest.fixture
def image_is_ours(opened, monkeypatch):
    """image_is_ours(case, folder, measured): that the image is what our own class decodes from the
    latents that the pipeline ends with"""

    def check(case, folder, measured):
        model, pipe = ldm_ae.load(folder), opened(case, folder)
        denoised = latents_of_each_step(pipe, monkeypatch)
        image = case.generate(pipe)
        latents = denoised[-1][:1]
        if case.pipeline == "FluxPipeline":
            latents = pipe._unpack_latents(latents, SIDE, SIDE, pipe.vae_scale_factor)
        latents = latents / model.scaling_factor
        if case.honours == "shift":
            latents = latents + model.shift_factor
        if case.honours == "channels" and measured:
            mean, std = torch.tensor([model.latents_mean, model.latents_std]).view(2, 1, -1, 1, 1)
            latents = latents * std + mean
        with torch.no_grad():
            expected = (model.decode(latents) / 2 + 0.5).clamp(0, 1)
        np.testing.assert_allclose(image, expected[0].permute(1, 2, 0).numpy(), atol=1e-4)

    return check


def latents_of_each_step(pipe, monkeypatch):
    """A list that fills with the scaled latents after each denoising step."""
    seen = []
    original = pipe.scheduler.step

    def step(*args, **kwargs):
        output = original(*args, **kwargs)
        seen.append((output.prev_sample if hasattr(output, "prev_sample") else output[0]).clone())
        return output

    monkeypatch.setattr(pipe.scheduler, "step", step)
    return seen


def test_pipelines_decode_what_our_model_does(case, folder_for, image_is_ours):
    """The image is decode(latents / scaling_factor) of our own class."""
    folder = folder_for(case)
    model = ldm_ae.load(folder)
    assert model.scaling_factor != pytest.approx(1, rel=0.05)
    assert abs(model.shift_factor) <= 0.1
    image_is_ours(case, folder, measured=False)


def test_pipelines_heed_what_they_are_known_to_heed(kl_case, folder_for, image_is_ours):
    """Of the measured shift and the statistics per channel."""
    folder = folder_for(kl_case, measured=True)
    model = ldm_ae.load(folder)
    assert model.scaling_factor != pytest.approx(1, rel=0.05)
    assert abs(model.shift_factor) > 0.1
    image_is_ours(kl_case, folder, measured=True)


SMALL = {
    "AsymmetricAutoencoderKL": KLConfig(coder=CODER, decoder=DecoderConfig((4, 8, 8, 8))),
    "AutoencoderTiny": TinyConfig(encoder_width=6, decoder_width=5),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_decoders(name, sd1_case, make_model, images, image_is_ours, tmp_path):
    folder = export(
        make_model(SMALL[name]),
        tmp_path / "export",
        batches=[images],
        sample_size=SIDE,
        resolved_config="",
        card={},
        scaling=LatentScaling(1.0 if name == "AutoencoderTiny" else 0.3),
    )
    image_is_ours(sd1_case, folder, measured=False)


def test_another_export_is_swapped_in(kl_case, folder_for, opened):
    pipe = opened(kl_case, folder_for(kl_case))
    before = kl_case.generate(pipe)
    pipe.vae = diffusers.AutoencoderKL.from_pretrained(folder_for(kl_case, measured=True))
    after = kl_case.generate(pipe)
    assert np.allclose(before, after, atol=1e-5) == (not kl_case.honours)


def test_slices_tiles_and_half_precision(kl_case, folder_for, opened):
    pipe = opened(kl_case, folder_for(kl_case))
    whole = kl_case.generate(pipe)
    pipe.vae.enable_slicing()
    np.testing.assert_allclose(kl_case.generate(pipe), whole, atol=1e-5)
    pipe.to(torch.bfloat16)
    assert np.abs(kl_case.generate(pipe) - whole).mean() < 0.05
    pipe.vae.enable_tiling()
    pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = SIDE // 2, SIDE // 16
    assert not np.allclose(kl_case.generate(pipe), whole)
