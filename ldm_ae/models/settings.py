"""What the families' configs have in common, the way to diffusers' `config.json` included."""

from collections.abc import Mapping
from typing import Any, ClassVar

from ldm_ae.errors import UserError
from ldm_ae.files import printable
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.quantizers.base import QuantizerConfig

MAX_CHANNELS = 1 << 16
_GREATEST = 1e30  # single precision ends at 3e38, and squares are taken


class ModelSettings:
    """Base of the frozen dataclasses listed in `models.build`, told apart by `kind`.

    What is not a field of a family's own has the value given here. diffusers_class: the class that
    computes what the model computes. diffusers_defaults: what the family's first such class takes
    a missing key of its own for.
    """

    kind: str
    coder: CoderConfig
    latent_channels: int
    quant_conv: bool = True
    decoder: DecoderConfig | None = None
    codebook: QuantizerConfig | None = None
    predict_scale: bool = False
    init_from: str | None = None
    variant: str | None = None

    @property
    def downsampling_factor(self) -> int:
        return self.coder.downsampling_factor

    @property
    def image_channels(self) -> int:
        return self.coder.image_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the encoder's resolutions, finest first."""
        return self.coder.channels

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Of the decoder's resolutions, finest first."""
        return self.widths if self.decoder is None else self.decoder.channels

    @property
    def code_dim(self) -> int:
        """Channels of what the decoder is given."""
        return self.latent_channels

    @property
    def diffusers_class(self) -> str:
        return "AutoencoderKL"

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

    def integer(self, key: str, at_most: int = MAX_CHANNELS, at_least: int = 1) -> int:
        """Raises UserError for anything else than an integer of that range."""
        value = self[key]
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if not (is_integer and at_least <= value <= at_most):
            raise self.unsupported(key, f"an integer from {at_least} to {at_most} is")
        return int(value)

    def integers(
        self, key: str, most: int, at_most: int = MAX_CHANNELS, at_least: int = 1
    ) -> tuple[int, ...]:
        """1 to `most` of them. Raises UserError for anything else."""
        values = self[key]
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= most:
            raise self.unsupported(key, f"a list of 1 to {most} integers is")
        return tuple(DiffusersConfig({key: v}).integer(key, at_most, at_least) for v in values)

    def boolean(self, key: str) -> bool:
        """Raises UserError for anything else than true and false."""
        value = self[key]
        if not isinstance(value, bool):
            raise self.unsupported(key, "true or false is")
        return value

    def number(self, key: str) -> float:
        """Raises UserError for anything else than a number of single precision."""
        return _number(self[key], self.unsupported(key, "a number is"))

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """One for each latent channel, or None. Raises UserError for anything else."""
        values = self.get(key)
        if values is None:
            return None
        error = self.unsupported(key, "a number for each latent channel is")
        if not isinstance(values, (list, tuple)) or len(values) != self["latent_channels"]:
            raise error
        return tuple(_number(value, error) for value in values)

    def unsupported(self, key: str, remedy: str) -> UserError:
        return UserError(f"config.json: {key}={shown(self[key])} is not supported; {remedy}")


def _number(value: Any, error: UserError) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _GREATEST:
        raise error
    return float(value)


def shown(value: Any) -> str:
    """A value of a file as a message can have it: in one short line."""
    text = printable(repr(value) if not isinstance(value, str) else value)
    return text if len(text) <= 100 else f"{text[:100]}..."
