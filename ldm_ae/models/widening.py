"""More latent channels than the weights have that a training starts from."""

from collections.abc import Mapping

import torch
from torch import Tensor


def widened(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` of a plain autoencoder with c channels, with those of `fresh`, which has more.

    The encoder makes the new channels by fresh weights, and nothing comes of them in the decoder
    yet: pictures are those of `state`, and training finds a use for the rest.
    """
    out, into = "encoder.conv_out", "decoder.conv_in"
    c = state[f"{out}.weight"].shape[0]
    found = dict(state)
    for name in (f"{out}.weight", f"{out}.bias"):
        found[name] = torch.cat([state[name], fresh[name][c:].to(state[name])])
    silent = torch.zeros_like(fresh[f"{into}.weight"][:, c:]).to(state[f"{into}.weight"])
    found[f"{into}.weight"] = torch.cat([state[f"{into}.weight"], silent], dim=1)
    for name in ("quant_conv", "post_quant_conv"):
        if f"{name}.weight" not in state:
            continue
        old, width = state[f"{name}.weight"], fresh[f"{name}.bias"].shape[0]
        new = torch.eye(width).to(old)[:, :, None, None]
        new[:c, :c] = old
        found[f"{name}.weight"] = new
        bias = state[f"{name}.bias"]
        found[f"{name}.bias"] = torch.cat([bias, bias.new_zeros(width - c)])
    return found
