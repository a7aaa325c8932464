import pytest
import torch
import torch.nn.functional as F

from ldm_ae.quantizers.vq import VectorQuantizer, VQConfig, nearest_codes


def make(**settings) -> VectorQuantizer:
    defaults = {"size": 8, "init": "uniform", "revive_after": 0}
    return VectorQuantizer(VQConfig(**(defaults | settings)), dim=3)


def test_nearest_codes_against_a_slow_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    latents, codes = torch.randn(50, 3), torch.randn(8, 3)
    expected = ((latents[:, None] - codes[None]) ** 2).sum(-1).argmin(1)
    assert torch.equal(nearest_codes(latents, codes), expected)
    monkeypatch.setattr("ldm_ae.quantizers.vq._MAX_DISTANCES", 24)
    assert torch.equal(nearest_codes(latents, codes), expected)


def test_straight_through_gradient_is_the_identity() -> None:
    latents = torch.randn(1, 3, 4, 4, requires_grad=True)
    weights = torch.randn(1, 3, 4, 4)
    (make()(latents).codes * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_beta_weighs_the_commitment_unless_legacy(legacy: bool) -> None:
    codebook = make(update="gradient", beta=0.25, legacy=legacy)
    latents = torch.randn(1, 3, 4, 4, requires_grad=True)
    penalties = codebook(latents).penalties
    sum(penalties.values()).backward()
    codes = codebook.lookup(codebook.indices(latents)).detach()
    to_latents, to_codes = (1.0, 0.25) if legacy else (0.25, 1.0)
    distance = 2 * (latents.detach() - codes) / latents.numel()
    torch.testing.assert_close(latents.grad, to_latents * distance)
    pulled = -to_codes * distance.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = torch.zeros(8, 3).index_add_(0, codebook.indices(latents).flatten(), pulled)
    torch.testing.assert_close(codebook.embedding.weight.grad, expected)


def test_ema_against_a_slow_reference() -> None:
    codebook = make(update="ema", ema_decay=0.9)
    count, total = torch.ones(8), codebook.embedding.weight.detach().clone()
    for _ in range(3):
        latents = torch.randn(2, 3, 4, 4)
        indices = codebook.indices(latents).flatten()
        flat = latents.permute(0, 2, 3, 1).reshape(-1, 3)
        codebook(latents)
        for k in range(8):
            chosen = flat[indices == k]
            count[k] = 0.9 * count[k] + 0.1 * len(chosen)
            total[k] = 0.9 * total[k] + 0.1 * chosen.sum(0)
        smooth = (count + 1e-5) / (count.sum() + 8e-5) * count.sum()
        torch.testing.assert_close(codebook.embedding.weight.detach(), total / smooth[:, None])


def test_codes_start_on_the_first_batch() -> None:
    codebook = make(init="data")
    latents = 5 + torch.randn(1, 3, 4, 4)
    codebook(latents)
    flat = latents.permute(0, 2, 3, 1).reshape(-1, 3)
    started = codebook.ema_sum / codebook.ema_count[:, None]
    assert float(torch.cdist(started, flat).min(1).values.max()) < 2.0  # moved once since
    assert len(codebook.indices(latents).unique()) == 8


def test_dead_codes_are_revived_with_their_means() -> None:
    codebook = make(update="ema", revive_after=2)
    with torch.no_grad():
        codebook.embedding.weight[5:] = 1e3
        codebook.ema_sum[5:] = 1e3
    latents = torch.randn(1, 3, 8, 8)
    codebook(latents)
    assert float(codebook.embedding.weight[5:].abs().min()) > 100
    codebook(latents)
    revived = codebook.embedding.weight[5:]
    flat = latents.permute(0, 2, 3, 1).reshape(-1, 3)
    assert float(torch.cdist(revived, flat).min(1).values.max()) < 1e-3
    assert torch.equal(codebook.ema_sum[5:], revived)
    assert codebook.ema_count[5:].tolist() == [1.0] * 3
    codebook(latents)
    assert float(codebook.embedding.weight[5:].abs().max()) < 10  # no pull back to 1e3


@pytest.mark.parametrize("update", ["ema", "gradient"])
@pytest.mark.parametrize("l2_normalize", [False, True])
def test_revival_leaves_the_backward_pass_alone(update: str, l2_normalize: bool) -> None:
    codebook = make(update=update, l2_normalize=l2_normalize, revive_after=1)
    latents = torch.randn(1, 3, 2, 1, requires_grad=True)  # most codes go unused
    quantized = codebook(latents)
    (quantized.codes.sum() + sum(quantized.penalties.values())).backward()
    assert latents.grad is not None


def test_nothing_moves_in_eval_mode() -> None:
    codebook = make(init="data").eval()
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codebook(torch.randn(1, 3, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())


def test_codes_on_the_unit_sphere() -> None:
    codebook = make(l2_normalize=True, update="gradient")
    latents = 10 * torch.randn(1, 3, 4, 4)
    quantized = codebook(latents)
    torch.testing.assert_close(quantized.codes.norm(dim=1), torch.ones(1, 4, 4))
    inner = torch.einsum("bdhw,kd->bkhw", latents, F.normalize(codebook.embedding.weight, dim=1))
    assert torch.equal(quantized.indices, inner.argmax(1))


def test_use_of_codes_in_training() -> None:
    codebook = make(size=4)
    codebook.passes_unused.copy_(torch.tensor([0, 0, 0, 7]))
    codebook.ema_count.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    terms = codebook.training_usage()
    assert terms["codebook_share"] == 0.75
    assert terms["codebook_perplexity"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 1}, "codebook.size=1"),
        ({"ema_decay": 1.0}, "codebook.ema_decay=1.0"),
        ({"legacy": True, "update": "ema"}, "set codebook.update=gradient"),
    ],
)
def test_bad_values_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQConfig(**settings)
