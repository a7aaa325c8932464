from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import ldm_ae
from ldm_ae.cli.main import main
from ldm_ae.models.norm import NormSiLU

pytestmark = pytest.mark.gpu
GOLDEN = Path(__file__).parents[1] / "codec" / "golden" / "kl_v1"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_fused_norm_is_torchs(dtype: torch.dtype) -> None:
    norm = NormSiLU(4, 48).cuda()
    images = torch.randn(2, 48, 65, 33, device="cuda").to(dtype)
    last = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = images.double().requires_grad_()
    weight, bias = norm.weight.double(), norm.bias.double()
    pairs = [
        (norm(last), F.silu(F.group_norm(exact, 4, weight, bias, norm.eps))),
    ]
    grad = torch.randn_like(images)
    pairs.append(
        (
            torch.autograd.grad(pairs[0][0], last, grad)[0],
            torch.autograd.grad(pairs[0][1], exact, grad.double())[0],
        )
    )
    for found, wanted in pairs:
        assert found.dtype == dtype
        error = (found - wanted).abs().max() / wanted.abs().max()
        assert error < {torch.float32: 1e-4}.get(dtype, 2**-7)


def test_a_model_is_inspected_where_it_is(tmp_path: Path) -> None:
    pixels = torch.randint(256, (64, 64, 3), dtype=torch.uint8).numpy()
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    command = ["inspect", GOLDEN, tmp_path, "--out", tmp_path / "card", "--metrics", "psnr"]
    assert main([*map(str, command), "--device", "cuda"]) == 0


@torch.no_grad()
def test_a_fast_model_differs_by_less_than_half_a_level() -> None:
    exact, fast = (
        ldm_ae.load(GOLDEN, device="cuda", precision=precision) for precision in ("fp32", "fast")
    )
    assert "fused norms" in fast.precision
    latents = exact.encode(torch.rand(1, 3, 64, 64, device="cuda") * 2 - 1)
    first, second = (model.decode(latents).clamp(-1, 1) for model in (exact, fast))
    assert float((first - second).abs().mean()) * 127.5 < 0.5
