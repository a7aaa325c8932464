"""The KL-regularised autoencoder (Kingma and Welling 2014; Rombach et al. 2022, section 3.1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ldm_ae.config import Width
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, DecoderConfig, require_channels
from ldm_ae.models.gaussian import MAX_LOGVAR, MIN_LOGVAR, DiagonalGaussian
from ldm_ae.models.narrow import narrowed
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.models.rows import Rows
from ldm_ae.models.settings import DiffusersConfig, ModelSettings


@dataclass(frozen=True)
class KLConfig(ModelSettings):
    """latent_channels: c. quant_conv: 1x1 convolutions around the latents, as in LDM and SD 1, 2
    and XL; SD3 and FLUX have none.

    posterior: `learned`, or `fixed`: the encoder gives the mean alone, and sigma is `fixed_std`
        everywhere, in units of the latents (Ghosh et al. 2020, arXiv:1903.12436, section 3). The KL
        term then pulls on the means alone; without it they outgrow the noise.
    initial_logvar: log sigma^2 of the learned posterior before training. At 0, where convolutions
        start by themselves, unit noise drowns the still small means, and the first hundreds of
        steps go into getting rid of it.
    decodes: what the decoder is given in training, a `sample` of the posterior or its `mode`.
    init_from: start with the weights of this diffusers AutoencoderKL: whatever
        `ldm_ae.load` takes, `hub:owner/model` included. The settings above are taken from there;
        a larger coder.num_res_blocks adds blocks that begin without effect.
    decoder: another shape than the encoder's mirror image; with init_from of another decoder it
        starts with as many of that one's channels as it has.
    variant: of init_from's files, such as `fp16`, where it has several.
    """

    kind: Literal["kl"] = "kl"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: Width = 4
    quant_conv: bool = True
    decoder: DecoderConfig | None = None
    posterior: Literal["learned", "fixed"] = "learned"
    fixed_std: float = 0.1
    initial_logvar: float = -6.0
    decodes: Literal["sample", "mode"] = "sample"
    init_from: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels)
        if self.decoder is not None:
            self.decoder.require_fit(self.coder)
        if not (self.fixed_std > 0 and MIN_LOGVAR <= self.fixed_logvar <= MAX_LOGVAR):
            raise UserError(
                f"model.fixed_std={self.fixed_std}: use a deviation from 1e-6 to 1e4; for none at"
                " all use model.kind=plain"
            )
        if self.init_from is not None and self.posterior == "fixed":
            raise UserError(
                "model.posterior=fixed with model.init_from: an AutoencoderKL's encoder also gives"
                " the variance; leave model.posterior=learned"
            )

    @property
    def fixed_logvar(self) -> float:
        return 2 * math.log(self.fixed_std)

    @property
    def diffusers_class(self) -> str:
        return "AutoencoderKL" if self.decoder is None else "AsymmetricAutoencoderKL"

    def to_diffusers(self) -> dict[str, Any]:
        return super().to_diffusers() if self.decoder is None else {}

    @classmethod
    def from_diffusers(cls, coder: CoderConfig, content: DiffusersConfig) -> "KLConfig":
        """Of an AutoencoderKL. Raises UserError for what this package does not compute."""
        if content["use_quant_conv"] != content["use_post_quant_conv"]:
            raise content.unsupported("use_post_quant_conv", "it must equal use_quant_conv")
        return cls(
            coder=coder,
            latent_channels=content.integer("latent_channels"),
            quant_conv=content.boolean("use_quant_conv"),
        )


class KLAutoencoder(Autoencoder):
    config: KLConfig
    title = "KL-regularised autoencoder"
    latent_protocol = "z ~ q(z|x), in expectation over its noise: Var z = Var E[z|x] + E Var[z|x]"

    def __init__(self, config: KLConfig) -> None:
        c = config.latent_channels
        learned = config.posterior == "learned"
        moments = 2 * c if learned else c
        super().__init__(
            config, config.coder, moments, moments, c, c, config.quant_conv, decoder=config.decoder
        )
        if learned:
            last = self.encoder.conv_out if self.quant_conv is None else self.quant_conv
            with torch.no_grad():
                last.bias[c:] += config.initial_logvar  # type: ignore[index]

    def posterior(
        self, images: Tensor | Rows, max_memory: int | str | None = None
    ) -> DiagonalGaussian:
        """q(z|x) of images (B, C, H, W). max_memory: as of `encode`."""
        moments = self.features(images, max_memory)
        if self.config.posterior == "learned":
            return DiagonalGaussian.from_moments(moments)
        return DiagonalGaussian(moments, torch.full_like(moments, self.config.fixed_logvar))

    def encode(self, images: Tensor | Rows, max_memory: int | str | None = None) -> Tensor:
        """Images -> the posterior's mode, unscaled. max_memory: as of `Autoencoder.encode`."""
        return self.posterior(images, max_memory).mode()

    def latents_and_posterior(self, images: Tensor) -> tuple[Tensor, DiagonalGaussian]:
        posterior = self.posterior(images)
        return posterior.mode(), posterior

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        if self.config.decoder is not None:
            own = self.decoder.state_dict(prefix="decoder.")
            kept = {name: value for name, value in state.items() if not name.startswith("decoder.")}
            state = {**kept, **narrowed(state, own, self.config.coder.norm_groups)}
        self.load_state_dict(state)

    def diffusers_state(self) -> dict[str, Tensor]:
        state = super().diffusers_state()
        if self.config.posterior == "learned":
            return state
        return with_log_variance(state, self.config.fixed_logvar)

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode one sample, or the mode; penalty `kl`: nats, mean per latent element."""
        posterior = self.posterior(images)
        latents = posterior.sample(keys) if self.config.decodes == "sample" else posterior.mode()
        decoded = self.decode_codes(latents)
        return Reconstruction(decoded, latents, penalties={"kl": posterior.kl().mean()})


def with_log_variance(state: dict[str, Tensor], log_variance: float) -> dict[str, Tensor]:
    """Weights whose last convolution before the latents gives log sigma^2 = `log_variance`, too:
    c more outputs with weights of 0."""
    last = "encoder.conv_out" if "quant_conv.weight" not in state else "quant_conv"
    for name in {"encoder.conv_out", last}:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        constant = torch.full_like(bias, log_variance if name == last else 0.0)
        if name == "quant_conv":  # its inputs double as well
            weight = torch.cat([weight, torch.zeros_like(weight)], dim=1)
        state[f"{name}.weight"] = torch.cat([weight, torch.zeros_like(weight)])
        state[f"{name}.bias"] = torch.cat([bias, constant])
    return state


def without_log_variance(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose last convolution before the latents gives the posterior's mean alone. What
    mixes both halves, a 1x1 convolution, is folded into the convolution before it."""
    state = dict(state)
    weight, bias = state["encoder.conv_out.weight"], state["encoder.conv_out.bias"]
    c = weight.shape[0] // 2
    if "quant_conv.weight" in state:
        mix = state["quant_conv.weight"][:c, :, 0, 0]
        weight = torch.einsum("om,mihw->oihw", mix, weight)
        bias = mix @ bias + state["quant_conv.bias"][:c]
        state["quant_conv.weight"] = torch.eye(c)[:, :, None, None]
        state["quant_conv.bias"] = torch.zeros(c)
    state["encoder.conv_out.weight"], state["encoder.conv_out.bias"] = weight[:c], bias[:c]
    return state
