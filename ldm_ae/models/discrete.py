"""Autoencoders with a codebook: VQ (van den Oord et al. 2017; Esser et al. 2021), the discrete VAE
(Ramesh et al. 2021), and whatever else is in `quantizers.build`."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ldm_ae.config import Width
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.coders import CoderConfig, require_channels
from ldm_ae.models.inputs import require_latents
from ldm_ae.models.kl import without_log_variance
from ldm_ae.models.outputs import Reconstruction
from ldm_ae.models.settings import DiffusersConfig, ModelSettings
from ldm_ae.quantizers.base import Quantizer
from ldm_ae.quantizers.build import CodebookConfig, build_quantizer
from ldm_ae.quantizers.vq import VQConfig

QUANTIZE = "quantize."
_MAX_CODES = 1 << 24  # a config is read before its weights
_EARLIER_KINDS = {"vq": "vq", "dvae": "gumbel"}


@dataclass(frozen=True)
class DiscreteConfig(ModelSettings):
    """latent_channels: channels of the encoder's output. code_channels: d, the length of a code;
    by default what the codebook says, or the same. predict_scale: the decoder also predicts the
    log-scale of each value, as the logit-Laplace likelihood needs; an export leaves it out.
    init_from: start with the weights and codes of this diffusers VQModel, or with the weights of an
    AutoencoderKL, its posterior's mean before quantisation and the codebook new; the settings are
    taken from there; otherwise as in the KL family. variant: of init_from's files, such as `fp16`,
    where it has several."""

    diffusers_defaults: ClassVar[Mapping[str, Any]] = {
        "latent_channels": 3,
        "num_vq_embeddings": 256,
        "vq_embed_dim": None,
        "norm_type": "group",
        "lookup_from_codebook": False,
        "force_upcast": False,
    }

    kind: Literal["discrete"] = "discrete"
    coder: CoderConfig = field(default_factory=CoderConfig)
    latent_channels: Width = 4
    code_channels: Width | None = None
    codebook: CodebookConfig = field(default_factory=VQConfig)
    predict_scale: bool = False
    init_from: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        require_channels(latent_channels=self.latent_channels, code_channels=self.code_channels)
        if self.codebook.dim not in (None, self.code_dim):
            raise UserError(
                f"model.code_channels={self.code_channels}, but codes of this codebook have"
                f" {self.codebook.dim} values: leave model.code_channels out"
            )

    @property
    def code_dim(self) -> int:
        return self.code_channels or self.codebook.dim or self.latent_channels

    @property
    def diffusers_class(self) -> str:
        return "VQModel"

    def to_diffusers(self) -> dict[str, Any]:
        self.codebook.require_table()
        return {
            "num_vq_embeddings": self.codebook.num_codes,
            "vq_embed_dim": self.code_dim,
            "norm_type": "group",
            "lookup_from_codebook": False,
        }

    @classmethod
    def from_diffusers(cls, coder: CoderConfig, content: DiffusersConfig) -> "DiscreteConfig":
        """Of a VQModel. Raises UserError for what this package does not compute."""
        if content["norm_type"] != "group":
            raise content.unsupported("norm_type", "only `group` is")
        dim = content["vq_embed_dim"]
        return cls(
            coder=coder,
            latent_channels=content.integer("latent_channels"),
            code_channels=None if dim is None else content.integer("vq_embed_dim"),
            codebook=VQConfig(
                size=content.integer("num_vq_embeddings", _MAX_CODES), init="uniform"
            ),
        )


class DiscreteAutoencoder(Autoencoder):
    latent_protocol = "z = E(x), before quantisation: what VQModel.decode quantises"

    def __init__(self, config: DiscreteConfig) -> None:
        z, d = config.latent_channels, config.code_dim
        out_channels = config.coder.image_channels * (2 if config.predict_scale else 1)
        super().__init__(config, config.coder, z, d, d, z, out_channels=out_channels)
        # By diffusers' name, which checkpoints share.
        self.quantize = build_quantizer(config.codebook, d)
        self.title, self.loss_is_summed = config.codebook.title, config.codebook.loss_is_summed

    @property
    def quantizer(self) -> Quantizer:
        return self.quantize

    @property
    def regularized_per_value(self) -> float:
        """One divergence per position, not per channel."""
        return 1 / (self.image_channels * self.downsampling_factor**2)

    def encode_indices(self, images: Tensor, max_memory: int | str | None = None) -> Tensor:
        return self.quantize.indices(self.encode(images, max_memory))

    def decode_indices(self, indices: Tensor, max_memory: int | str | None = None) -> Tensor:
        self.quantize.require_indices(indices)
        assert self.post_quant_conv is not None
        codes = self.quantize.lookup(indices).to(self.post_quant_conv.weight.dtype)
        return self.decode_codes(codes, max_memory)[:, : self.image_channels]

    def decode(self, latents: Tensor, max_memory: int | str | None = None) -> Tensor:
        """Latents before quantisation -> their codes -> images. max_memory: as of
        `Autoencoder.encode`."""
        require_latents(latents, self.latent_channels)
        return self.decode_indices(self.quantize.indices(latents), max_memory)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        own = {
            name: value for name, value in self.state_dict().items() if name.startswith(QUANTIZE)
        }
        if own.keys().isdisjoint(state):
            state = {**without_log_variance(state), **own}
        self.load_state_dict(state)

    def training_names(self) -> set[str]:
        return {f"quantize.{name}" for name in self.quantize.training_buffers()}

    def restart_training(self) -> None:
        self.quantize.restart_training()

    def diffusers_state(self) -> dict[str, Tensor]:
        """The codebook becomes its table; the decoder's rows for the likelihood's scale go."""
        state = super().diffusers_state()
        state = {name: value for name, value in state.items() if not name.startswith(QUANTIZE)}
        # Made on the CPU in fp32 always: a GPU rounds a normalised code differently.
        table = copy.deepcopy(self.quantize).to("cpu", torch.float32).codes()
        state["quantize.embedding.weight"] = table.detach()
        for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
            state[name] = state[name][: self.image_channels]
        return state

    def forward(self, images: Tensor, keys: Tensor | None = None) -> Reconstruction:
        """Decode the codes as training sees them; the quantizer's penalties."""
        latents = self.features(images)
        quantized = self.quantize(latents, keys)
        output = self.decode_codes(quantized.codes)
        return Reconstruction(
            output[:, : self.image_channels],
            latents,
            quantized.penalties,
            quantized.indices,
            log_scale=output[:, self.image_channels :] if self.config.predict_scale else None,
        )


def current_section(section: Any) -> Any:
    """A config's `model` section as it is written today: VQ and dVAE were kinds of models once."""
    kind = _EARLIER_KINDS.get(str(section.get("kind"))) if isinstance(section, dict) else None
    if kind is None:
        return section
    return {
        **section,
        "kind": "discrete",
        "codebook": {"kind": kind, **section.get("codebook", {})},
    }
