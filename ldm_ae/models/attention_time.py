"""Whether attention over a large image ends within an hour."""

from __future__ import annotations

import time

import torch.nn.functional as F
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.models.blocks import AttentionBlock

MAX_ATTENTION_SECONDS = 3600.0
_QUICK_OPERATIONS = 1e13  # no device is timed for fewer


def require_time(attended: list[tuple[AttentionBlock, int]], like: Tensor) -> None:
    """Raise UserError if attention takes too long here, which a small one tells."""
    queries, keys, seconds = 1024, 8192, 0.0
    for block, positions in attended:
        channels = block.to_k.out_features
        if 4 * channels * positions**2 < _QUICK_OPERATIONS:
            continue
        query, key = (like.new_zeros(1, 1, n, channels) for n in (queries, keys))
        for _ in range(2):  # the first warms up
            started = time.perf_counter()
            F.scaled_dot_product_attention(query, key, key).sum().item()
            took = time.perf_counter() - started
        seconds += took * (positions / queries) * (positions / keys)
    if seconds > MAX_ATTENTION_SECONDS:
        raise UserError(
            f"attention over {max(n for _, n in attended)} positions would take about"
            f" {seconds / 3600:.1f} hours here, more than {MAX_ATTENTION_SECONDS / 3600:g}: use a"
            " smaller image, a faster device, or a model without attention"
        )
