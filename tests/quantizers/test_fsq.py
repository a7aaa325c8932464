import itertools
import math

import pytest
import torch

from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.quantizers.fsq import FiniteScalarQuantizer, FSQConfig


def make(*levels: int, **settings) -> FiniteScalarQuantizer:
    return FiniteScalarQuantizer(FSQConfig(levels=levels, **settings), len(levels))


def test_the_codes_are_a_grid_whose_first_value_runs_fastest() -> None:
    axes = [(-1.0, 0.0, 1.0), (-1.0, 1.0), (-1.0, -1 / 3, 1 / 3, 1.0)]
    expected = [code[::-1] for code in itertools.product(*axes[::-1])]
    torch.testing.assert_close(make(3, 2, 4).codes(), torch.tensor(expected))


def test_latents_outside_the_grid_go_to_its_edge() -> None:
    z = torch.tensor([[-7.0, 0.2], [9.0, -0.4]])[:, :, None, None]  # (2, 2, 1, 1)
    codes = make(5, 4)(z).codes
    torch.testing.assert_close(codes.flatten(1), torch.tensor([[-1.0, 1 / 3], [1.0, -1 / 3]]))


def test_the_gradient_passes_straight_through() -> None:
    z = (3 * torch.randn(2, 2, 4, 4)).requires_grad_()
    weights = torch.randn(2, 2, 4, 4)
    quantized = make(5, 4, beta=0.0)(z)
    (quantized.codes * weights).sum().backward()
    torch.testing.assert_close(z.grad, weights)
    assert quantized.penalties == {}


def test_the_penalty_pulls_back_into_the_box_and_leaves_its_inside_alone() -> None:
    z = (2 * torch.randn(2, 2, 4, 4, dtype=torch.float64)).requires_grad_()
    (penalty,) = make(5, 4, beta=0.5)(z).penalties.values()
    penalty.backward()
    excess = z.detach().sign() * (z.detach().abs() - 1).clamp_min(0)
    assert float(penalty.detach()) == pytest.approx(0.5 * float(excess.square().mean()))
    torch.testing.assert_close(z.grad, 0.5 * 2 * excess / z.numel())


def test_half_precision_is_rounded_in_fp32() -> None:
    """Between two of 500 levels near the edge bfloat16 has no number."""
    z = torch.linspace(-1.1, 1.1, 4096).to(torch.bfloat16).view(1, 1, 64, 64)
    quantizer = make(500)
    assert torch.equal(quantizer.indices(z), quantizer.indices(z.double()))


def test_many_codes_work_but_have_no_table() -> None:
    quantizer = make(*[8] * 20)
    indices = quantizer.indices(torch.randn(2, 20, 5, 6))
    assert int(indices.max()) > 1 << 32
    assert torch.equal(quantizer.indices(quantizer.lookup(indices)), indices)
    with pytest.raises(ValueError, match="levels=.*VQModel.*too many.*product is 65,536 or less"):
        quantizer.codes()
    with pytest.raises(ValueError, match="65,537 are too many"):
        DiscreteConfig(codebook=FSQConfig(levels=(65537,))).to_diffusers()
    at_most = DiscreteConfig(codebook=FSQConfig(levels=(16, 16, 16, 16))).to_diffusers()
    assert (at_most["num_vq_embeddings"], at_most["vq_embed_dim"]) == (math.prod([16] * 4), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": ()}, r"codebook.levels=\[\]"),
        ({"levels": (5, 1)}, r"codebook.levels=\[5, 1\]: list numbers of 2 or more"),
        ({"levels": (8,) * 21}, "more than 2.62 codes"),
        ({"beta": -1.0}, "codebook.beta=-1.0"),
    ],
)
def test_bad_values_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FSQConfig(**settings)
