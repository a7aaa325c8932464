"""Tiny models with priors fitted to latents of their own."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from ldm_ae.codec.codec import Codec
from ldm_ae.codec.fitting.calibrate import calibrate
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.pretrained import load_codec
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(4, 4, 8), num_res_blocks=1, norm_groups=2)  # f4
CONFIGS = {
    "kl": KLConfig(coder=CODER),
    "plain": PlainConfig(coder=CODER),
    "vq": DiscreteConfig(coder=CODER, codebook=VQConfig(size=50)),
    "dvae": DiscreteConfig(coder=CODER, codebook=GumbelConfig(size=64)),
}

CONTEXT = ("kl", "vq")


@pytest.fixture(scope="session")
def make_codec() -> Callable[..., Codec]:
    """A codec of a family with random weights, the same for the same seed."""

    def make(family: str, seed: int = 0, image_channels: int = 3) -> Codec:
        config = CONFIGS[family]
        if image_channels != 3:
            coder = CoderConfig(
                channels=(4, 8), num_res_blocks=1, norm_groups=2, image_channels=image_channels
            )
            config = KLConfig(coder=coder)
        torch.manual_seed(seed)
        model = build_model(config).eval()
        for name, parameter in model.named_parameters():
            if name == "quantize.embedding.weight":
                parameter.data.normal_()
        images = [smooth(64, 64, channels=image_channels, seed=index) for index in range(4)]
        return Codec(model, calibrate(model, images))

    return make


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The second decoder, `reference.py`."""
    return _module("reference.py")


@pytest.fixture(scope="session")
def context_reference() -> ModuleType:
    """The context priors once more, `context_reference.py`."""
    return _module("context_reference.py")


def _module(name: str) -> ModuleType:
    spec = spec_from_file_location(f"codec_{name[:-3]}", Path(__file__).with_name(name))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    return smooth


@pytest.fixture(scope="session")
def field() -> Callable[[int, int, int], np.ndarray]:
    """field(height, width, seed), latents float32 (3, h, w)"""
    return smooth_latents


@pytest.fixture(scope="session")
def samples() -> list[np.ndarray]:
    """Latents to fit a prior to."""
    return [smooth_latents(24, 32, seed) for seed in range(12)]


@pytest.fixture(scope="session")
def codecs(make_codec) -> dict[str, Codec]:
    """One of each family, and two with context priors."""
    golden = Path(__file__).with_name("golden")
    context = {f"{name} context": load_codec(golden / f"{name}_context_v1") for name in CONTEXT}
    return {family: make_codec(family) for family in CONFIGS} | context


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A picture of soft blobs and some noise, uint8 (H, W, C)."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, channels, height // 16 + 2, width // 16 + 2)))
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    image = fine[0].permute(1, 2, 0).numpy() * 255 + rng.normal(0, 4, (height, width, channels))
    return image.clip(0, 255).astype(np.uint8)


def smooth_latents(height: int, width: int, seed: int) -> np.ndarray:
    """Three smooth channels, of which the second follows the first and the third is dull."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, height + 4, width + 4))
    smooth = sum(noise[:, y : y + height, x : x + width] for y in range(5) for x in range(5)) / 5
    first, second, third = smooth
    mixed = np.stack([3 * first + 1, first + 0.5 * second, 0.1 * third])
    return (mixed + 0.05 * rng.normal(size=mixed.shape)).astype(np.float32)
