"""A model for use: fast, near the exact one, and honest about what it is."""

from pathlib import Path

import pytest
import torch

import ldm_ae
from ldm_ae.convert import load
from ldm_ae.errors import UserError
from ldm_ae.models import fast
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.fast import bf16_is_fast, make_fast
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.tiny import TinyConfig

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
CODER = CoderConfig(3, (8, 16), 1, norm_groups=4)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        KLConfig(coder=CODER),
        KLConfig(coder=CODER, decoder=DecoderConfig((4, 8))),
        TinyConfig(encoder_blocks=(1, 1), decoder_blocks=(1, 1)),
        DiscreteConfig(coder=CODER),
    ],
)
def test_fast_is_near_the_exact_model(bf16: bool, config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "bf16_is_fast", lambda: bf16)
    torch.manual_seed(0)
    model = build_model(config).eval()
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    latents = model.encode(images).detach()
    decoded = model.decode(latents).detach()
    make_fast(model)
    assert model.precision.startswith(f"fast: {'bf16' if bf16 else 'fp32'}, channels-last")
    assert model.encoder.conv_in.weight.dtype == (torch.bfloat16 if bf16 else torch.float32)
    tolerance = 0.03 if bf16 else 1e-5
    for ours, exact in ((model.encode(images), latents), (model.decode(latents), decoded)):
        assert ours.dtype == torch.float32 and not ours.requires_grad
        assert 0 < float((ours - exact).norm() / exact.norm()) < tolerance


def test_the_process_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(fast, "keep_freed_memory", lambda: asked.append(True))
    make_fast(build_model(KLConfig(coder=CODER)).eval())
    assert asked == [True]


def test_latents_still_take_a_gradient() -> None:
    model = build_model(KLConfig(coder=CODER)).eval()
    make_fast(model)
    latents = torch.zeros(1, 4, 4, 4, requires_grad=True)
    model.decode(latents).sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0


@torch.no_grad()
def test_load_takes_a_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, fast_one = ldm_ae.load(GOLDEN / "kl_v1"), ldm_ae.load(GOLDEN / "kl_v1", precision="fast")
    assert exact.precision == "fp32" and fast_one.precision.startswith("fast")
    latents = exact.encode(torch.rand(1, 3, 32, 32))
    images = (exact.decode(latents).clamp(-1, 1), fast_one.decode(latents).clamp(-1, 1))
    assert float((images[0] - images[1]).abs().mean()) * 127.5 < 0.5
    with pytest.raises(UserError, match="precision='fp8'"):
        ldm_ae.load(GOLDEN / "kl_v1", precision="fp8")  # type: ignore[arg-type]
    monkeypatch.setattr(load, "usable_device", torch.device)
    with pytest.raises(UserError, match="precision=fast with device=mps"):
        ldm_ae.load(GOLDEN / "kl_v1", precision="fast", device="mps")


def test_a_codec_computes_exactly_or_not_at_all() -> None:
    codec = ldm_ae.load_codec(GOLDEN / "kl_v1")
    assert codec.model.precision == "fp32"
    model = ldm_ae.load(GOLDEN / "kl_v1", precision="fast")
    with pytest.raises(UserError, match="a codec computes in fp32"):
        ldm_ae.Codec(model, codec.prior)


def test_bf16_is_taken_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(
            fast, "_seconds", lambda layer, _, slow=slow: 1.0 + (layer.weight.dtype == slow)
        )
        bf16_is_fast.cache_clear()
        assert bf16_is_fast() == (slow == torch.float32)
    bf16_is_fast.cache_clear()
