"""What a model must be, from the shapes of its weights alone: files of weights often come without
a config."""

from __future__ import annotations

import re
from pathlib import Path

from ldm_ae.convert.diffusers_config import from_diffusers_config
from ldm_ae.convert.tensors import Shapes
from ldm_ae.errors import UserError
from ldm_ae.models.coders import MAX_LEVELS
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.kl import KLConfig

_DOWN = "encoder.down_blocks"
_STAGE = re.compile(
    rf"{re.escape(_DOWN)}\.(\d{{1,3}})\.(?:resnets\.(\d{{1,3}})\.conv1|attentions\.\d+\.to_q)\.weight"
)


def config_of(source: Path, shapes: Shapes) -> KLConfig | DiscreteConfig:
    """The settings of the AutoencoderKL or VQModel whose weights, by today's names, have these
    shapes, with the 32 groups that all norms of LDM's and Stable Diffusion's have.

    It asks for no more than it needs: what does not fit together shows when the weights are read.
    Raises UserError for weights of no such model.
    """

    def size(name: str, axis: int) -> int:
        shape = shapes.get(name)
        if shape is None or len(shape) <= axis:
            raise UserError(
                f"{source} has no {name}, so that it is no autoencoder that this package computes;"
                " other autoencoders of diffusers: ldm_ae.wrap"
            )
        return shape[axis]

    stages = [found.groups() for found in map(_STAGE.fullmatch, shapes) if found]
    num_levels = min(1 + max((int(level) for level, _ in stages), default=0), MAX_LEVELS)
    attending = {int(level) for level, block in stages if block is None}
    down = ["AttnDown" if level in attending else "Down" for level in range(num_levels)]
    content = {
        "in_channels": size("encoder.conv_in.weight", 1),
        "out_channels": size("decoder.conv_out.weight", 0),
        "down_block_types": [f"{kind}EncoderBlock2D" for kind in down],
        "up_block_types": [f"{kind.replace('Down', 'Up')}DecoderBlock2D" for kind in down[::-1]],
        "block_out_channels": [
            size(f"{_DOWN}.{level}.resnets.0.conv1.weight", 0) for level in range(num_levels)
        ],
        "layers_per_block": 1 + max((int(block) for _, block in stages if block), default=0),
        "mid_block_add_attention": any("mid_block.attentions" in name for name in shapes),
    }
    moments = size("encoder.conv_out.weight", 0)
    if "quantize.embedding.weight" in shapes:
        content |= {
            "_class_name": "VQModel",
            "latent_channels": moments,
            "num_vq_embeddings": size("quantize.embedding.weight", 0),
            "vq_embed_dim": size("quantize.embedding.weight", 1),
        }
    else:
        content |= {
            "_class_name": "AutoencoderKL",
            "latent_channels": moments // 2,
            "use_quant_conv": "quant_conv.weight" in shapes,
            "use_post_quant_conv": "post_quant_conv.weight" in shapes,
        }
    found = from_diffusers_config(content)
    assert isinstance(found, (KLConfig, DiscreteConfig))
    return found
