"""Rate-aware training: bits that are real, known only from what was coded before, and trainable."""

import pytest
import torch

from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.plain import PlainAutoencoder, PlainConfig
from ldm_ae.models.rate import RateConfig, RatePrior

KEYS = torch.arange(2)


@pytest.fixture
def prior() -> RatePrior:
    torch.manual_seed(0)
    return RatePrior(RateConfig(width=8), latent_channels=3, downsampling_factor=4)


def model() -> PlainAutoencoder:
    torch.manual_seed(0)
    coder = CoderConfig(channels=(8, 8, 8), num_res_blocks=1, mid_attention=False, norm_groups=4)
    return PlainAutoencoder(PlainConfig(coder=coder, rate=RateConfig(width=8)))


def test_steps_lie_in_the_range_and_belong_to_the_image(prior: RatePrior) -> None:
    latents = torch.zeros(500, 3, 2, 2)
    steps = prior.draw_steps(latents, torch.arange(500))
    assert steps.shape == (500, 1, 1, 1)
    assert 0.1 <= steps.min() < 0.11 and 0.72 < steps.max() <= 0.8
    assert torch.equal(steps[7:9], prior.draw_steps(latents[:2], torch.tensor([7, 8])))


def test_the_bins_of_a_value_share_one_unit_of_probability(prior: RatePrior) -> None:
    """Of the first position, whose density depends on nothing, over all multiples of its step."""
    steps = torch.full((1, 1, 1, 1), 0.3)
    values = torch.arange(-300, 301) * 0.3
    latents = values.view(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    relative = steps / prior.config.middle_step
    mean, log_scale = prior._densities(
        latents / prior.config.middle_step, relative.expand(601, 1, 1, 1)
    )
    bits = prior.value_bits(latents / prior.config.middle_step, mean, log_scale, relative)
    total = torch.exp2(-bits.double()).sum(dim=0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("changed", "affected"), [((0, 0), 4), ((1, 1), 3), ((0, 1), 2)])
def test_a_value_tells_only_later_passes(
    prior: RatePrior, changed: tuple[int, int], affected: int
) -> None:
    order = [(0, 0), (1, 1), (0, 1), (1, 0)]
    values, relative = torch.randn(1, 3, 6, 6), torch.ones(1, 1, 1, 1)
    other = values.clone()
    other[:, :, changed[0] :: 2, changed[1] :: 2] += 1
    before, after = prior._densities(values, relative), prior._densities(other, relative)
    for place, (top, left) in enumerate(order):
        same = all(
            torch.equal(a[..., top::2, left::2], b[..., top::2, left::2])
            for a, b in zip(before, after, strict=True)
        )
        assert same == (place <= 4 - affected), f"pass {place}"


def test_decoder_sees_multiples_of_the_step_and_the_encoder_a_gradient() -> None:
    trained = model()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    seen: list[torch.Tensor] = []
    assert trained.post_quant_conv is not None and trained.prior is not None
    trained.post_quant_conv.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    output = trained(images, KEYS)
    steps = trained.prior.draw_steps(output.latents, KEYS)
    symbols = seen[0] / steps
    torch.testing.assert_close(symbols, symbols.round(), atol=1e-4, rtol=0)
    output.images.sum().backward()
    assert trained.encoder.conv_in.weight.grad is not None
    assert trained.encoder.conv_in.weight.grad.abs().sum() > 0


def test_the_rate_moves_the_encoder_and_falls() -> None:
    trained = model()
    optimizer = torch.optim.Adam(trained.parameters(), 3e-3)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    rates = []
    for _ in range(30):
        optimizer.zero_grad()
        rate = trained(images, KEYS).penalties["rate"]
        rate.backward()
        optimizer.step()
        rates.append(rate.item())
    assert rates[-1] < 0.5 * rates[0]


def test_coarse_steps_weigh_more() -> None:
    prior = RatePrior(RateConfig(least_step=0.8, greatest_step=0.8), 3, 4)
    _, fixed = prior(torch.randn(2, 3, 4, 4), KEYS)
    assert fixed["rate"].item() == pytest.approx(fixed["bpp"].item())
    _, drawn = RatePrior(RateConfig(step_power=2.0), 3, 4)(torch.randn(2, 3, 4, 4), KEYS)
    assert drawn["rate"].item() != pytest.approx(drawn["bpp"].item(), rel=1e-3)


def test_the_prior_stays_out_of_the_export() -> None:
    names = to_diffusers_state(model())
    assert not [name for name in names if name.startswith("prior")]


def test_steps_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="model.rate.least_step=2.0"):
        RateConfig(least_step=2.0)


def test_the_prior_learns_while_the_rate_weighs_nothing() -> None:
    """Its own term moves the prior by the rate's gradient, and the encoder not at all."""
    trained = model()
    assert trained.prior is not None
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    trained(images, KEYS).penalties["prior"].backward()
    assert trained.encoder.conv_in.weight.grad is None
    weight = trained.prior.network[0].weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0
