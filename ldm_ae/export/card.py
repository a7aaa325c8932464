"""The model card of an export: what it is, how to load it, what was measured, what is not said."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ldm_ae import installed
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.export.statistics import LatentStatistics
from ldm_ae.export.uncertainty import ENOUGH_IMAGES
from ldm_ae.models.base import Autoencoder

_CARD = """\
---
library_name: diffusers
tags:
- autoencoder
- latent-diffusion
---

# {class_name}, f{factor}, {channels} latent channels

A {family} of images with {image_channels} channels in [-1, 1], trained and exported by `ldm_ae`
{version}. Latents are {factor} times smaller per side than images.

## Use

In diffusers (written and checked with {diffusers}):

```python
from diffusers import {class_name}

{argument} = {class_name}.from_pretrained("path/to/this/folder")
# {pipelines}: pass {argument}={argument}
```

In `ldm_ae`, without diffusers:

```python
import ldm_ae

model = ldm_ae.load("path/to/this/folder")
latents = model.encode(images)  # {encoded}
images = model.decode(latents)  # nominally in [-1, 1], not clamped
```

A diffusion model sees `{scaled}`; pipelines undo it before they decode.
{shift}{per_channel}{few}
## Measured
{tables}
`training_config.yaml` is the whole experiment, `latent_statistics.json` has the moments of each
latent channel.

## Not claimed

- Scores hold for the validation images and the protocol named above. They are not comparable with
  published ones that used other images, crops or networks, and no rFID was measured here.
- Output was compared with diffusers' in fp32. Half precision was not tested, hence `force_upcast`.
- The photos that a model is trained on decide what it reconstructs well; others may do worse.
"""

_PER_CHANNEL = """\
`latents_mean` and `latents_std` are set for SDXL's pipelines, which compute
`(latents - latents_mean) / latents_std * scaling_factor`; `latents_std` is relative to the overall
standard deviation, so that this has unit variance in each channel. Those pipelines take models of
4 channels alone; those of SD 1, 2 and 3, FLUX, PixArt and DiT ignore both.
"""


_SHIFT = """\
`shift_factor` is heeded by the pipelines of SD3 and FLUX, which compute
`(latents - shift_factor) * scaling_factor`. Those of SD 1, 2 and XL, PixArt and DiT ignore it and
use `scaling_factor` alone.
"""


_ENCODED = {
    "VQModel": "before quantisation, unscaled",
    "AutoencoderTiny": "in the scaled latents of what it imitates",
}


def few_images(statistics: LatentStatistics) -> str:
    """What statistics of fewer than `ENOUGH_IMAGES` are worth."""
    found = statistics.uncertainty
    interval = ""
    if found is not None:
        interval = " (95 % interval {:.4g} to {:.4g})".format(*found.scaling_factor)
    return (
        f"scaling_factor and the statistics of the latents rest on {statistics.num_different}"
        f" images{interval}; on others they may be off: measure {ENOUGH_IMAGES:,} or more"
    )


def model_card(
    class_name: str,
    model: Autoencoder,
    statistics: LatentStatistics,
    tables: Mapping[str, Mapping[str, Any]],
    scaling: LatentScaling,
    warning: str = "",
) -> str:
    """Markdown. tables: by heading; values are numbers, text, or None for what is not known.

    scaling: what the export's config says, measured or kept. warning: of what is little known.
    """
    quantised = model.quantizer is not None
    return _CARD.format(
        class_name=class_name,
        factor=model.downsampling_factor,
        channels=len(statistics.channel_std),
        image_channels=model.image_channels,
        family=model.title,
        version=installed.version(),
        diffusers=version("diffusers"),
        argument="vqvae" if quantised else "vae",
        pipelines="LDMPipeline" if quantised else "StableDiffusionPipeline or DiTPipeline",
        encoded=_ENCODED.get(class_name, "the posterior's mode, unscaled"),
        scaled=_scaled(scaling),
        shift=_SHIFT if scaling.shift_factor else "",
        per_channel=_PER_CHANNEL if scaling.latents_std is not None else "",
        few=f"\nA warning: {warning}.\n" if warning else "",
        tables="".join(_table(heading, rows) for heading, rows in tables.items()),
    )


def _scaled(scaling: LatentScaling) -> str:
    shifted = f"(latents - {scaling.shift_factor:.6g})" if scaling.shift_factor else "latents"
    return f"{shifted} * {scaling.scaling_factor:.6g}"


def _table(heading: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["", f"### {heading}", "", "| | |", "| --- | --- |", *lines, ""])


def _cell(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
