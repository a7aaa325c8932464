import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.quantizers import bsq
from ldm_ae.quantizers.bsq import BinarySphericalQuantizer, BSQConfig


def make(bits: int = 4, **settings) -> BinarySphericalQuantizer:
    return BinarySphericalQuantizer(BSQConfig(bits=bits, **settings), bits)


def latents(bits: int = 4, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(2, bits, 5, 6, dtype=torch.float64)


def test_the_codes_are_the_corners_on_the_unit_sphere() -> None:
    codes = make(3).codes()
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))) / math.sqrt(3)
    assert torch.equal(codes.flip(1), corners)  # the first value's sign is the lowest bit
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(8))


def test_the_gradient_is_that_of_the_normalised_latent() -> None:
    z, weights = latents().requires_grad_(), latents()
    quantized = make(entropy_weight=0)(z)
    (quantized.codes * weights).sum().backward()
    straight = z.detach().clone().requires_grad_()
    (F.normalize(straight, dim=1) * weights).sum().backward()
    torch.testing.assert_close(z.grad, straight.grad)
    assert quantized.penalties == {}


@pytest.mark.parametrize("diversity", [0.0, 1.0, 1.5])
def test_entropies_against_a_softmax_over_all_codes(diversity: float) -> None:
    """Of one latent exactly; of the mean choice as if its bits were independent."""
    settings = {"entropy_weight": 0.5, "inverse_temperature": 3.0, "diversity": diversity}
    quantizer, z = make(4, **settings), latents()
    sphere = F.normalize(z, dim=1)
    codes = quantizer.codes().double()
    choice = torch.einsum("bdhw,kd->bhwk", 3.0 * sphere, codes).softmax(-1)
    each = -(choice * choice.log()).sum(-1).mean()
    up = torch.stack([choice[..., codes[:, bit] > 0].sum(-1).mean() for bit in range(4)])
    mean = -(up * up.log() + (1 - up) * (1 - up).log()).sum()
    expected = 0.5 * (each - diversity * mean) / 4
    torch.testing.assert_close(quantizer(z).penalties["entropy"], expected, rtol=1e-6, atol=0)


def test_a_sure_and_even_choice_has_the_least_entropy_term() -> None:
    quantizer = make(2, entropy_weight=1.0, inverse_temperature=1e4)
    corners = quantizer.codes().T[None, :, None].double()
    assert float(quantizer(corners).penalties["entropy"]) == pytest.approx(-math.log(2))
    one = corners[..., :1].expand(1, 2, 1, 4)
    assert float(quantizer(one).penalties["entropy"]) == pytest.approx(0, abs=2e-5)


def test_bits_that_never_change_leave_the_gradient_finite() -> None:
    z = (torch.tensor([[1.0, -1.0]]) + 0.01 * torch.randn(64, 2))[:, :, None, None].requires_grad_()
    make(2, inverse_temperature=1e3)(z).penalties["entropy"].backward()
    assert z.grad.isfinite().all()


def test_ranks_share_the_mean_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the ranks' gradients, as DDP takes it, is that of one process."""
    quantizer, z = make(4, beta=0.5), latents()
    alone = z.clone().requires_grad_()
    sum(quantizer(alone).penalties.values()).backward()
    logits = 2 * quantizer.config.inverse_temperature / 2 * F.normalize(z, dim=1)
    total = sum(torch.sigmoid(part).mean(dim=(0, 2, 3)) for part in logits.split(1))
    monkeypatch.setattr(bsq, "sum_over_ranks", lambda mine: total)
    monkeypatch.setattr(bsq, "world", lambda: (0, 2))
    for image in range(2):
        mine = z[image : image + 1].clone().requires_grad_()
        sum(quantizer(mine).penalties.values()).backward()
        torch.testing.assert_close(mine.grad / 2, alone.grad[image : image + 1])


def test_commitment_is_on_the_sphere() -> None:
    quantizer, z = make(beta=0.25), latents(scale=7.0)
    sphere = F.normalize(z, dim=1)
    distance = (sphere - torch.sign(z) / 2).square().mean()
    torch.testing.assert_close(
        quantizer(z).penalties["commitment"], 0.25 * distance, rtol=1e-6, atol=0
    )


def test_many_bits_work_but_have_no_table() -> None:
    quantizer = make(36)
    indices = quantizer.indices(latents(36))
    assert int(indices.max()) > 1 << 32
    assert torch.equal(quantizer.indices(quantizer.lookup(indices)), indices)
    with pytest.raises(ValueError, match=r"bits=36.*VQModel.*2\^36 are too many.*use 16 bits"):
        quantizer.codes()
    with pytest.raises(ValueError, match="use 16 bits or fewer"):
        DiscreteConfig(codebook=BSQConfig(bits=17)).to_diffusers()
    assert DiscreteConfig(codebook=BSQConfig(bits=16)).to_diffusers()["num_vq_embeddings"] == 65536


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "codebook.bits=0: use 1 to 62"),
        ({"entropy_weight": -1.0}, "codebook.entropy_weight=-1.0"),
        ({"inverse_temperature": 0.0}, "codebook.inverse_temperature=0.0"),
    ],
)
def test_bad_values_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BSQConfig(**settings)


def test_codes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="code_channels=4, but codes of this codebook have 6"):
        DiscreteConfig(code_channels=4, codebook=BSQConfig(bits=6))
