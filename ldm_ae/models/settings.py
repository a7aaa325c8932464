"""What the families' configs have in common, the way to diffusers' `config.json` included."""

from collections.abc import Mapping
from typing import Any, ClassVar

from ldm_ae.errors import UserError
from ldm_ae.models.coders import CoderConfig
from ldm_ae.quantizers.base import QuantizerConfig

MAX_CHANNELS = 1 << 16


class ModelSettings:
    """Base of the frozen dataclasses listed in `models.build`, told apart by `kind`.

    What is not a field of a family's own has the value given here. diffusers_class: the class that
    computes what the model computes. diffusers_defaults: what that class takes a missing key of
    its own for.
    """

    kind: str
    coder: CoderConfig
    latent_channels: int
    quant_conv: bool = True
    codebook: QuantizerConfig | None = None
    predict_scale: bool = False
    init_from: str | None = None

    @property
    def code_dim(self) -> int:
        """Channels of what the decoder is given."""
        return self.latent_channels

    diffusers_class: ClassVar[str] = "AutoencoderKL"
    diffusers_defaults: ClassVar[Mapping[str, Any]] = {
        "latent_channels": 4,
        "shift_factor": None,
        "latents_mean": None,
        "latents_std": None,
        "force_upcast": True,
        "use_quant_conv": True,
        "use_post_quant_conv": True,
    }

    def to_diffusers(self) -> dict[str, Any]:
        """The keys that other diffusers classes do not have. Raises UserError for a model that
        the class cannot hold."""
        return {"use_quant_conv": self.quant_conv, "use_post_quant_conv": self.quant_conv}


class DiffusersConfig(dict[str, Any]):
    """A `config.json` in which no key is missing."""

    def integer(self, key: str, at_most: int = MAX_CHANNELS) -> int:
        """Raises UserError for anything else than an integer from 1 to `at_most`."""
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= at_most:
            raise self.unsupported(key, f"an integer from 1 to {at_most} is")
        return value

    def unsupported(self, key: str, remedy: str) -> UserError:
        return UserError(f"config.json: {key}={self[key]} is not supported; {remedy}")
