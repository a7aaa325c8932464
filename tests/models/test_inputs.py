"""What a user gives by mistake is named with its remedy, by every family."""

import numpy as np
import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4)
CONFIGS = {
    "kl": KLConfig(coder=CODER),
    "vq": DiscreteConfig(coder=CODER, code_channels=4, codebook=VQConfig(size=16)),
    "tiny": TinyConfig(
        encoder_width=8, encoder_blocks=(1, 1), decoder_width=8, decoder_blocks=(1, 1)
    ),
}
IMAGES = [
    (np.zeros((1, 3, 8, 8)), r"images are ndarray: give a torch tensor \(B, 3, H, W\)"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8: give float in .-1, 1., such as"),
    (torch.zeros(3, 8, 8), r"images have the shape \(3, 8, 8\): give \(B, 3, H, W\)"),
    (torch.zeros(1, 1, 8, 8), "images have 1 channels, this model takes 3"),
]
LATENTS = [
    (torch.zeros(1, 4, 4, 4, dtype=torch.int64), "torch.int64: give float, as encode"),
    (torch.zeros(4, 4, 4), r"latents have the shape \(4, 4, 4\)"),
    (torch.zeros(1, 16, 4, 4), "latents have 16 channels, this model takes 4"),
]


@pytest.mark.parametrize("family", CONFIGS)
def test_wrong_images_and_latents_are_named(family: str, make_model) -> None:
    model = make_model(CONFIGS[family])
    for images, message in IMAGES:
        for use in (model.encode, model.reconstruct):
            with pytest.raises(UserError, match=message):
                use(images)
    for latents, message in LATENTS:
        with pytest.raises(UserError, match=message):
            model.decode(latents)
    with torch.no_grad():
        assert model.decode(model.encode(torch.zeros(2, 3, 8, 8))).shape == (2, 3, 8, 8)
