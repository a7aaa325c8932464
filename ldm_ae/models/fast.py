"""A model for use, as fast as this machine computes it."""

import functools
import time

import torch
from torch import Tensor, nn

from ldm_ae.models.base import Autoencoder
from ldm_ae.models.frozen import can_pack, freeze_convolutions
from ldm_ae.models.kept_memory import keep_freed_memory
from ldm_ae.models.layout import has_triton

_REPETITIONS = 3


def make_fast(model: Autoencoder, device: torch.device | None = None) -> None:
    """Channels-last memory, and the weights of convolutions and linear layers in bf16 where the
    device has it; statistics of norms stay in fp32. On a CPU repetition is folded into the
    convolution after it, weights are kept as oneDNN reads them, and the process keeps freed memory
    from now on; on a GPU norm and activation are one kernel. `model.precision` says what was taken.
    The weights take no gradient from here on; latents and images still do.

    device: where the model will be; a CPU by default.
    """
    on_gpu = device is not None and device.type == "cuda"
    model.requires_grad_(False)
    model.use_memory_format(torch.channels_last)
    taken = "fp32"
    if torch.cuda.get_device_capability(device)[0] >= 8 if on_gpu else bf16_is_fast():
        taken = "bf16"
        for network in (model.encoder, model.decoder):
            for layer in network.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.to(torch.bfloat16)
    if on_gpu:
        own = "fused norms" if has_triton() else "stock norms (no Triton here)"
    else:
        own = "folded upsampling"
        for network in (model.encoder, model.decoder):
            freeze_convolutions(network)
        if can_pack(torch.bfloat16 if taken == "bf16" else torch.float32):
            own += ", packed weights"
        keep_freed_memory()
    model.precision = f"fast: {taken}, channels-last memory, {own}"


@functools.cache
def bf16_is_fast() -> bool:
    """Whether a convolution takes less time in bf16 than in fp32 on this processor: where bf16 is
    emulated it takes many times as long. Measured once, in some milliseconds."""
    layers = [
        nn.Conv2d(64, 64, 3, padding=1, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    images = torch.zeros(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
    best = [float("inf")] * 2
    with torch.no_grad():
        for repetition in range(1 + _REPETITIONS):  # in turn; the first of them warms up
            for i, layer in enumerate(layers):
                seconds = _seconds(layer, images.to(layer.weight.dtype))
                best[i] = min(best[i], seconds) if repetition else best[i]
    return best[1] < best[0]


def _seconds(layer: nn.Conv2d, images: Tensor) -> float:
    """Of the processor, not of the clock."""
    started = time.process_time()
    layer(images)
    return time.process_time() - started
