"""The GPU's norm without a GPU: what it computes, in Triton's interpreter, and that it compiles.

The interpreter is chosen before the kernels are defined, so both run in processes of their own.
"""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPUTES = """
import torch, torch.nn.functional as F
from ldm_ae.models.norm_triton import NormSiLUOnGPU

def apart(shape, groups, dtype, mean):
    torch.manual_seed(0)
    x = (torch.randn(shape) + mean).to(dtype).contiguous(memory_format=torch.channels_last)
    leaves = [x, torch.randn(shape[1]), torch.randn(shape[1])]
    grad = torch.randn(shape).to(dtype)
    mine = [leaf.clone().requires_grad_() for leaf in leaves]
    y = NormSiLUOnGPU.apply(*mine, groups, 1e-6)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    exact = [leaf.double().requires_grad_() for leaf in leaves]
    wanted = F.silu(F.group_norm(exact[0], groups, *exact[1:], 1e-6))
    pairs = [(y, wanted), *zip(torch.autograd.grad(y, mine, grad),
                               torch.autograd.grad(wanted, exact, grad.double()))]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)

assert apart((2, 16, 9, 7), 4, torch.float32, 0) < 1e-5
assert apart((1, 48, 13, 11), 3, torch.float32, 100) < 1e-4  # far from 0, not a power of two
assert apart((1, 512, 5, 5), 32, torch.float32, 0) < 1e-5  # more rows than a tile has
assert apart((2, 8, 40, 40), 2, torch.bfloat16, 0) < 2**-7  # several programs for each image
"""

COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ldm_ae.models import triton_kernels

X, F = "*bf16", "*fp32"
SIZES = {"positions": "i32", "channels": "i32"}
KERNELS = {
    "sum_values": {"x": X, "sums": F, **SIZES, "part": "i32"},
    "activate": {"x": X, "y": X, "scale": F, "shift": F, **SIZES},
    "sum_slopes": {
        "x": X, "grad": X, "sums": F, "scale": F, "shift": F, "mean": F, **SIZES, "part": "i32"
    },
    "differentiate": {
        "x": X, "grad": X, "grad_x": X, "scale": F, "shift": F, "of_dz": F, "of_x": F,
        "rest": F, **SIZES,
    },
}
for name, given in KERNELS.items():
    signature = given | {"ROWS": "constexpr", "COLUMNS": "constexpr"}
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(len(given))}
    source = ASTSource(
        getattr(triton_kernels, name), signature, {"ROWS": 32, "COLUMNS": 128}, aligned
    )
    made = triton.compile(source, GPUTarget("cuda", 90, 32), {"num_warps": 8})
    assert "ld.global.v4" in made.asm["ptx"], name  # eight values of bf16 at once
"""


@pytest.mark.parametrize(("program", "interpreted"), [(COMPUTES, "1"), (COMPILES, "0")])
def test_it_computes_what_torch_does_and_compiles(program: str, interpreted: str, tmp_path) -> None:
    own = {"TRITON_INTERPRET": interpreted, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
