"""The names of latent diffusion's and taming-transformers' weights <-> diffusers'."""

from __future__ import annotations

import re
from collections.abc import Sequence

# LDM counts the decoder's levels from the finest, diffusers from the coarsest.
_PLACES = (
    ("encoder.down.{i}.block.{j}.", "encoder.down_blocks.{i}.resnets.{j}."),
    ("encoder.down.{i}.attn.{j}.", "encoder.down_blocks.{i}.attentions.{j}."),
    ("encoder.down.{i}.downsample.", "encoder.down_blocks.{i}.downsamplers.0."),
    ("decoder.up.{i}.block.{j}.", "decoder.up_blocks.{i}.resnets.{j}."),
    ("decoder.up.{i}.attn.{j}.", "decoder.up_blocks.{i}.attentions.{j}."),
    ("decoder.up.{i}.upsample.", "decoder.up_blocks.{i}.upsamplers.0."),
    *(
        (f"{coder}.{ldm}", f"{coder}.{diffusers}")
        for coder in ("encoder", "decoder")
        for ldm, diffusers in (
            ("mid.block_1.", "mid_block.resnets.0."),
            ("mid.block_2.", "mid_block.resnets.1."),
            ("mid.attn_1.", "mid_block.attentions.0."),
            ("norm_out.", "conv_norm_out."),
        )
    ),
)
_RESNET = (("nin_shortcut", "conv_shortcut"),)
_ATTENTION = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)


def from_ldm(name: str, num_levels: int) -> str:
    """A parameter's name in diffusers; names of no such parameter as they are."""
    return _translated(name, num_levels, _PLACES, _RESNET, _ATTENTION)


def to_ldm(name: str, num_levels: int) -> str:
    """A parameter's name in LDM, of diffusers' name."""
    return _translated(
        name, num_levels, *(_turned(pairs) for pairs in (_PLACES, _RESNET, _ATTENTION))
    )


def is_attention_weight(name: str) -> bool:
    """Whether it is a linear layer in diffusers and a 1x1 convolution in LDM; of diffusers'
    name."""
    return ".attentions." in name and name.endswith(".weight") and ".group_norm." not in name


Pairs = Sequence[tuple[str, str]]


def _turned(pairs: Pairs) -> Pairs:
    return [(second, first) for first, second in pairs]


def _translated(name: str, num_levels: int, places: Pairs, resnet: Pairs, attention: Pairs) -> str:
    for source, target in places:
        found = re.match(_pattern(source), name)
        if found is None:
            continue
        numbers = {key: int(value) for key, value in found.groupdict().items()}
        if name.startswith("decoder") and "i" in numbers:
            numbers["i"] = num_levels - 1 - numbers["i"]
        leaf = name[found.end() :]
        for old, new in attention if "att" in source else resnet:
            if leaf.startswith(f"{old}."):
                leaf = new + leaf[len(old) :]
                break
        return target.format(**numbers) + leaf
    return name


def _pattern(place: str) -> str:
    return re.escape(place).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{j\}", r"(?P<j>\d+)")
