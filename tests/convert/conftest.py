"""Checkpoints as LDM, taming and sgm leave them, at a quarter of a width; diffusers' own models."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from ldm_ae.convert.agreement import compare


@dataclass(frozen=True)
class LDMModel:
    """mult: widths / 32. channels: z_channels and embed_dim alike."""

    kind: str
    mult: tuple[int, ...]
    channels: int
    num_codes: int | None = None
    attn_resolutions: tuple[int, ...] = ()
    attn_type: str = "vanilla"

    @property
    def widths(self) -> list[int]:
        return [32 * m for m in self.mult]

    @property
    def moments(self) -> int:
        return self.channels if self.kind == "vq" else 2 * self.channels

    def attends(self, level: int) -> bool:
        return 256 // 2**level in self.attn_resolutions

    def weights(self) -> dict[str, torch.Tensor]:
        """By the names and shapes that LDM's modules give; the same at each call."""
        shapes = Shapes()
        shapes.encoder(self)
        shapes.decoder(self)
        if self.kind != "sgm":
            shapes.conv("quant_conv", self.moments, self.moments, 1)
            shapes.conv("post_quant_conv", self.channels, self.channels, 1)
        if self.num_codes:
            shapes["quantize.embedding.weight"] = (self.num_codes, self.channels)
        random = torch.Generator().manual_seed(0)
        return {name: draw(name, shape, random) for name, shape in shapes.items()}

    def yaml(self) -> str:
        net = {
            "double_z": self.kind != "vq", "z_channels": self.channels, "resolution": 256,
            "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": list(self.mult),
            "num_res_blocks": 2, "attn_resolutions": list(self.attn_resolutions), "dropout": 0.0,
        }  # fmt: skip
        if self.attn_type != "vanilla":
            net["attn_type"] = self.attn_type
        loss = {"target": "ldm.modules.losses.LPIPSWithDiscriminator", "params": {"disc_start": 1}}
        params: dict[str, Any] = {"embed_dim": self.channels, "ddconfig": net, "lossconfig": loss}
        params["monitor"] = "val/rec_loss"
        if self.num_codes:
            params["n_embed"] = self.num_codes
        if self.kind == "sgm":
            encoder = {"target": "sgm.modules.diffusionmodules.model.Encoder", "params": net}
            decoder = {"params": "${..encoder_config}"}
            params = {"encoder_config": encoder, "decoder_config": decoder}
        model = {"base_learning_rate": 4.5e-6, "target": "x", "params": params}
        return json.dumps({"model": model})

    def write(self, folder: Path) -> Path:
        """As Lightning leaves it: with the losses' networks and what the trainer keeps."""
        folder.mkdir(exist_ok=True)
        training = {
            "loss.logvar": torch.zeros(()),
            "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1),
            "loss.discriminator.main.1.num_batches_tracked": torch.tensor(3),
        }
        content = {"state_dict": {**self.weights(), **training}, "global_step": 3, "epoch": 1}
        path = folder / "model.ckpt"
        torch.save(content, path)
        (folder / "config.yaml").write_text(self.yaml())
        return path


class Shapes(dict[str, tuple[int, ...]]):
    """Of weights by name, put down module by module."""

    def conv(self, name: str, cin: int, cout: int, kernel: int = 3) -> None:
        self[f"{name}.weight"], self[f"{name}.bias"] = (cout, cin, kernel, kernel), (cout,)

    def norm(self, name: str, width: int) -> None:
        self[f"{name}.weight"] = self[f"{name}.bias"] = (width,)

    def resnet(self, name: str, cin: int, cout: int) -> None:
        self.norm(f"{name}.norm1", cin)
        self.conv(f"{name}.conv1", cin, cout)
        self.norm(f"{name}.norm2", cout)
        self.conv(f"{name}.conv2", cout, cout)
        if cin != cout:
            self.conv(f"{name}.nin_shortcut", cin, cout, 1)

    def attention(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)

    def mid(self, coder: str, model: LDMModel) -> None:
        width = model.widths[-1]
        self.resnet(f"{coder}.mid.block_1", width, width)
        if model.attn_type != "none":
            self.attention(f"{coder}.mid.attn_1", width)
        self.resnet(f"{coder}.mid.block_2", width, width)

    def encoder(self, model: LDMModel) -> None:
        widths = model.widths
        self.conv("encoder.conv_in", 3, widths[0])
        for level, width in enumerate(widths):
            for block in range(2):
                before = widths[max(level - 1, 0)] if block == 0 else width
                self.resnet(f"encoder.down.{level}.block.{block}", before, width)
                if model.attends(level):
                    self.attention(f"encoder.down.{level}.attn.{block}", width)
            if level < len(widths) - 1:
                self.conv(f"encoder.down.{level}.downsample.conv", width, width)
        self.mid("encoder", model)
        self.norm("encoder.norm_out", widths[-1])
        self.conv("encoder.conv_out", widths[-1], model.moments)

    def decoder(self, model: LDMModel) -> None:
        widths = model.widths
        self.conv("decoder.conv_in", model.channels, widths[-1])
        self.mid("decoder", model)
        for level, width in reversed(list(enumerate(widths))):
            for block in range(3):
                before = widths[min(level + 1, len(widths) - 1)] if block == 0 else width
                self.resnet(f"decoder.up.{level}.block.{block}", before, width)
                if model.attends(level):
                    self.attention(f"decoder.up.{level}.attn.{block}", width)
            if level > 0:
                self.conv(f"decoder.up.{level}.upsample.conv", width, width)
        self.norm("decoder.norm_out", widths[0])
        self.conv("decoder.conv_out", widths[0], 3)


def draw(name: str, shape: tuple[int, ...], random: torch.Generator) -> torch.Tensor:
    """Random weights through which values neither grow nor fade."""
    value = torch.randn(shape, generator=random)
    if len(shape) == 4:
        return value / (shape[1] * shape[2] * shape[3]) ** 0.5
    if name.endswith("bias"):
        return value * 0.2
    return 1 + 0.2 * value if len(shape) == 1 else value


# As published, but for the width.
PUBLISHED = {
    "kl-f4": LDMModel("kl", (1, 2, 4), 3),
    "kl-f8": LDMModel("kl", (1, 2, 4, 4), 4),
    "kl-f16": LDMModel("kl", (1, 1, 2, 2, 4), 16, None, (16,)),
    "kl-f32": LDMModel("kl", (1, 1, 2, 2, 4, 4), 64, None, (16, 8)),
    "vq-f4": LDMModel("vq", (1, 2, 4), 3, 8192),
    "vq-f4-noattn": LDMModel("vq", (1, 2, 4), 3, 8192, (), "none"),
    "vq-f8": LDMModel("vq", (1, 2, 2, 4), 4, 16384, (32,)),
    "vq-f8-n256": LDMModel("vq", (1, 2, 2, 4), 4, 256, (32,)),
    "vq-f16": LDMModel("vq", (1, 1, 2, 2, 4), 8, 16384, (16,)),
}
MODELS = {
    **PUBLISHED,
    "sgm": LDMModel("kl", (1, 2, 4, 4), 4),
    "sgm without quant convs": LDMModel("sgm", (1, 2, 4, 4), 16),
}


@pytest.fixture
def ldm() -> dict[str, LDMModel]:
    """ldm["kl-f8"].weights(), .yaml(), .write(folder)"""
    return MODELS


@pytest.fixture(params=MODELS)
def ldm_name(request: pytest.FixtureRequest) -> str:
    """Of every model."""
    return request.param


@pytest.fixture(params=PUBLISHED)
def published_name(request: pytest.FixtureRequest) -> str:
    """Of every model that LDM published, for each of which there is a config."""
    return request.param


@pytest.fixture
def agree() -> Callable[[Any, Any], None]:
    """agree(model, other): that they encode and decode alike"""

    def check(model: Any, other: Any) -> None:
        side = max(32, 2 * model.downsampling_factor)
        agreement = compare(model, other, [torch.rand(1, 3, side, side * 3 // 2) * 2 - 1])
        assert max(agreement.encode, agreement.decode) <= 1e-4
        assert agreement.num_ties <= agreement.num_tokens / 100

    return check


@pytest.fixture
def open_in_diffusers() -> Callable[[Path], Any]:
    """The model of a folder, as diffusers' own class opens it."""

    def open_folder(folder: Path) -> Any:
        name = json.loads((folder / "config.json").read_text())["_class_name"]
        return getattr(diffusers, name).from_pretrained(folder)

    return open_folder


@pytest.fixture
def save_kl():
    """Write a small AutoencoderKL of diffusers with random weights, and return it."""

    def save(folder, seed=0, **changes):
        torch.manual_seed(seed)
        settings = {
            "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
            "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
            "block_out_channels": [8, 16],
            "norm_num_groups": 4,
            "scaling_factor": 0.37,
        }
        theirs = diffusers.AutoencoderKL(**{**settings, **changes}).eval()
        theirs.save_pretrained(folder)
        return theirs

    return save


@pytest.fixture
def close():
    """Assert that two tensors are equal within 1e-5 of the greatest value."""
    return lambda ours, theirs: torch.testing.assert_close(
        ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max())
    )


@pytest.fixture
def check_kl(close):
    """Assert that a model's latents and pictures are those of diffusers' AutoencoderKL."""

    @torch.no_grad()
    def check(model, theirs, images):
        latents = theirs.encode(images).latent_dist.mode()
        close(model.encode(images), latents)
        close(model.decode(latents), theirs.decode(latents).sample)

    return check
