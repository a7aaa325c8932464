from dataclasses import replace

import pytest
import torch

from ldm_ae.models.deeper import deepened
from ldm_ae.models.kl import KLAutoencoder, KLConfig

LAST = ("conv2.weight", "to_out.0.weight")


@pytest.mark.parametrize("attention", [(), (1,)])
def test_more_blocks_compute_the_same_and_all_of_them_can_learn(
    attention: tuple[int, ...], tiny_coder
) -> None:
    tiny_coder = replace(tiny_coder, attention_factors=attention)
    source = KLAutoencoder(KLConfig(coder=tiny_coder))
    coder = replace(tiny_coder, num_res_blocks=tiny_coder.num_res_blocks + 2)
    deep = KLAutoencoder(KLConfig(coder=coder))
    deep.load_pretrained(deepened(source.state_dict(), deep.state_dict()))
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = deep.encode(images)
    torch.testing.assert_close(latents, source.encode(images))
    torch.testing.assert_close(deep.decode(latents), source.decode(latents))
    deep.decode(latents).square().mean().backward()
    new = set(dict(deep.named_parameters())) - set(dict(source.named_parameters()))
    for name, value in deep.named_parameters():
        if name in new and name.endswith(LAST):
            assert float(value.grad.abs().max()) > 0, name
    per_level = 2 * 2  # two more, in both coders
    # Two norms and two convolutions; a norm and four linear layers.
    assert len(new) == per_level * (len(tiny_coder.channels) * 8 + len(attention) * 10)


def test_nothing_is_added_to_a_network_of_the_same_depth(tiny_coder) -> None:
    source = KLAutoencoder(KLConfig(coder=tiny_coder)).state_dict()
    other = KLAutoencoder(KLConfig(coder=tiny_coder)).state_dict()
    found = deepened(source, other)
    assert found.keys() == source.keys() and all(found[n] is source[n] for n in found)
