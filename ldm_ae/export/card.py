"""The model card of an export: what it is, how to load it, what was measured, what is not said."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ldm_ae import installed
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.export.statistics import LatentStatistics
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
latents = model.encode(images)  # {encoded}, unscaled
images = model.decode(latents)  # nominally in [-1, 1], not clamped
```

A diffusion model sees `{scaled}`; pipelines undo it before they decode.
{per_channel}
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
standard deviation, so that this has unit variance in each channel. Pipelines of SD 1 and 2 and of
DiT ignore both and use `scaling_factor` alone.
"""


def model_card(
    class_name: str,
    model: Autoencoder,
    statistics: LatentStatistics,
    tables: Mapping[str, Mapping[str, Any]],
    scaling: LatentScaling,
) -> str:
    """Markdown. tables: by heading; values are numbers, text, or None for what is not known.

    scaling: what the export's config says, measured or kept.
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
        encoded="before quantisation" if quantised else "the posterior's mode",
        scaled=_scaled(scaling),
        per_channel=_PER_CHANNEL if scaling.latents_std is not None else "",
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
