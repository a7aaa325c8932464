import pytest
import torch

from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig, Decoder, Encoder
from ldm_ae.models.kl import KLConfig

TINY = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shapes(channels: int) -> None:
    config = CoderConfig(channels, (8, 8, 16), 1, (2,), norm_groups=4)
    features = Encoder(config, 5)(torch.randn(2, channels, 16, 24))
    assert features.shape == (2, 5, 4, 6)
    assert Decoder(config, 5, channels)(features).shape == (2, channels, 16, 24)


def test_kl_f8_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = build_model(KLConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 83_653_863


def test_gradient_checkpointing_changes_no_gradient() -> None:
    images = torch.randn(1, 3, 16, 16)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = CoderConfig(
            3, (8, 16), 1, (2,), norm_groups=4, gradient_checkpointing=checkpointing
        )
        encoder = Encoder(config, 4)
        encoder(images).square().sum().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_attention_sits_where_it_is_asked_for() -> None:
    config = CoderConfig(3, (8, 8, 16), 2, (4,), mid_attention=False, norm_groups=4)
    names = {name for name, _ in Encoder(config, 4).named_modules() if name.endswith("attentions")}
    assert names == {"down_blocks.2.attentions", "mid_block.attentions"}
    assert not list(Encoder(config, 4).mid_block.attentions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": (8, 10), "norm_groups": 4}, r"\[10\], not divisible by coder.norm_groups=4"),
        ({"image_channels": 2}, "coder.image_channels=2"),
        ({"attention_factors": (3,)}, r"attention_factors has \[3\].*\[1, 2, 4, 8\]"),
        ({"num_res_blocks": 0}, "coder.num_res_blocks=0"),
        ({"channels": ()}, "list positive widths"),
    ],
)
def test_bad_values_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CoderConfig(**arguments)
