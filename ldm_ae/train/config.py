"""The whole of an experiment: model, data, losses and training, as one config."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.data.config import DataConfig
from ldm_ae.errors import UserError
from ldm_ae.losses.objective import LossConfig
from ldm_ae.metrics.frechet import FrechetConfig
from ldm_ae.metrics.table import METRICS, OF_NETWORK, QUICK, require_metric
from ldm_ae.models.build import ModelConfig
from ldm_ae.models.discrete import current_section
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.train.non_finite import NonFinitePolicy
from ldm_ae.train.run_config import RunConfig

Kernels = Literal["auto", "plain", "fast"]


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """kernels: `fast` computes the same as `plain` to rounding, in channels-last memory with norms
        of its own, which Triton compiles on a GPU; on a CPU repetition is folded into the
        convolution after it, too. `auto` takes what is faster for this model on this CPU, and
        `plain` on a GPU; a resumed run keeps what it began with.
    non_finite: what a NaN or infinite loss term or gradient leads to. `stop` ends the run before
        the update, naming the terms and images; `skip` leaves that update out on every rank, with
        the codebook's own, counts it (`skipped_updates` in the log) and prints the names, but
        stops after more than max_skipped in a row. Skip where single images are to blame, not
        where training diverges. max_skipped: updates in a row.
    validate_every: in steps; the last step does it, too.
    best_metric: a metric of `ldm_ae.metrics.table`, or `lpips` for that of loss.perceptual.net;
        the checkpoint that is best by it stays too, and each validation that beats all before it
        is saved at once. null keeps no best one.
    frechet: a Fréchet distance at each validation, off without its network's weights.
    freeze_encoder: train the decoder of model.init_from alone; latents, and their scaling, stay
        bit for bit what they were.
    """

    kernels: Kernels = "auto"
    non_finite: NonFinitePolicy = "stop"
    max_skipped: int = 10
    validate_every: int = 1_000
    best_metric: str | None = None
    frechet: FrechetConfig = field(default_factory=FrechetConfig)
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1, "validate_every")
        self.require(0, "max_skipped")


# Switches that are gone, with the value that each had where it was off.
REMOVED: dict[str, Any] = {
    "loss.gram_weight": 0.0,
    "loss.multi_scale_weight": 0.0,
    "loss.multi_scale_levels": 3,
    "loss.frequency.haar_weight": 0.0,
    "loss.frequency.haar_levels": 2,
    "loss.frequency.haar_bands": (1.0, 1.0, 1.0),
    "loss.frequency.focal_weight": 0.0,
    "loss.frequency.focal_alpha": 1.0,
    "loss.frequency.high_pass_weight": 0.0,
    "loss.frequency.high_pass_sigma": 1.0,
    "loss.equivariance.probability": 0.0,
    "loss.equivariance.min_scale": 0.25,
    "loss.equivariance.rotate": True,
    "loss.adversarial.discriminator": "patch",
    "loss.adversarial.num_scales": 3,
    "train.progressive": (),
}


@dataclass(frozen=True)
class Experiment:
    """What a file under ldm_ae/configs/ describes.

    scaling: what the export tells pipelines to multiply latents by. null measures it, except that
    a frozen encoder keeps that of model.init_from.
    """

    model: ModelConfig
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    scaling: LatentScaling | None = None

    removed: ClassVar[dict[str, Any]] = REMOVED

    @staticmethod
    def upgrade(content: dict[str, Any]) -> dict[str, Any]:
        """What earlier versions wrote, as it is written today."""
        scaling = content.get("scaling")
        if isinstance(scaling, dict) and scaling.get("shift_factor", 0) is None:
            content = {**content, "scaling": {**scaling, "shift_factor": 0.0}}
        return {"data": {}, **content, "model": current_section(content.get("model"))}

    def __post_init__(self) -> None:
        factor = self.model.downsampling_factor
        if self.data.size % factor:
            raise UserError(
                f"data.size={self.data.size} is not divisible by the model's downsampling factor"
                f" {factor}: use {self.data.size // factor * factor or factor}"
            )
        if self.data.channels != self.model.image_channels:
            key = "image_channels" if isinstance(self.model, TinyConfig) else "coder.image_channels"
            raise UserError(
                f"data.channels={self.data.channels} but model.{key}="
                f"{self.model.image_channels}: make them equal"
            )
        adversarial = self.loss.adversarial
        if adversarial.weight > 0:
            self.require_images_of(
                adversarial.smallest_image,
                f"a discriminator with loss.adversarial.num_layers={adversarial.num_layers}",
                ", or fewer layers",
            )
        self.require_images_of(self.loss.smallest_image, "the pixel terms of loss")
        self._require_family()
        if (self.loss.reconstruction == "logit_laplace") != self.model.predict_scale:
            raise UserError(
                "loss.reconstruction=logit_laplace and model.predict_scale=true (kind discrete)"
                f" need each other; got {self.loss.reconstruction} and"
                f" predict_scale={self.model.predict_scale}"
            )
        self._require_best_metric()

    def require_images_of(self, side: int, what: str, remedy: str = "") -> None:
        """Raise UserError if losses see images with sides below `side`, which `what` needs."""
        if self.data.size < side:
            factor = self.model.downsampling_factor
            least = -(-side // factor) * factor
            raise UserError(
                f"data.size={self.data.size} is too small for {what}: use {least} or more{remedy}"
            )

    def _require_family(self) -> None:
        frozen = self.train.freeze_encoder
        can_freeze = isinstance(self.model, (KLConfig, PlainConfig)) and self.model.init_from
        if frozen and not can_freeze:
            raise UserError(
                "train.freeze_encoder=true needs model.init_from, the AutoencoderKL (model.kind=kl"
                " or plain) whose decoder is to be trained"
            )
        # A run ends with its export: what cannot be exported is refused before the first step.
        to_diffusers_config(self.model, self.scaling or LatentScaling(), self.data.size)

    @property
    def best_metric(self) -> str | None:
        """train.best_metric, a key of the table of metrics."""
        if self.train.best_metric == "lpips":
            return OF_NETWORK.get(self.loss.perceptual.net)
        return self.train.best_metric

    @property
    def validation_metrics(self) -> list[str]:
        """Of pairs of images: the quick ones, that of the loss's network, and the best metric."""
        asked = {*QUICK, OF_NETWORK.get(self.loss.perceptual.net), self.best_metric}
        return [name for name in METRICS if name in asked and METRICS[name].open is not None]

    def _require_best_metric(self) -> None:
        asked, metric = self.train.best_metric, self.best_metric
        if asked is None:
            return
        if asked == "lpips" and self.loss.perceptual.net in ("none", "embedded"):
            raise UserError(
                "train.best_metric=lpips needs loss.perceptual.net=vgg, alex or squeeze; or name"
                " one of lpips_vgg, lpips_alex, lpips_squeeze"
            )
        assert metric is not None
        require_metric(metric, "train.best_metric")
        if metric == "frechet" and self.train.frechet.weights is None:
            raise UserError("train.best_metric=frechet needs train.frechet.weights")
        if self.data.size < METRICS[metric].min_side:
            raise UserError(
                f"train.best_metric={metric} needs data.size={METRICS[metric].min_side} or more"
            )
        unvalidated = self.data.validation_count == 0 and self.data.validation_path is None
        if unvalidated and self.data.kind != "embedded":
            raise UserError(
                f"train.best_metric={metric} needs validation images: set"
                " data.validation_count or data.validation_path"
            )
