"""The adversarial game as a config: who plays, for which loss, and from when."""

from dataclasses import dataclass

from ldm_ae.config import Depth, Width
from ldm_ae.errors import UserError
from ldm_ae.losses.discriminator import DiscriminatorNorm
from ldm_ae.losses.gan_losses import GanLoss


@dataclass(frozen=True)
class AdversarialConfig:
    """weight: factor of the generator's term; 0 builds no discriminator. LDM has 0.5 (kl) and
        0.4 to 0.8 (vq) with `adaptive`; with a fixed weight start near 0.01 to 0.1.
    adaptive: multiply by the ratio of the gradient norms of the other reconstruction terms and
        of this one at the decoder's last layer (Esser et al. 2021, eq. 7), clamped as in LDM.
        It needs no tuning when other weights change; false is cheaper and steadier.
    loss: `hinge` as in LDM; `non_saturating` keeps a gradient where the discriminator is sure;
        `vanilla` is LDM's other choice (logistic discriminator, linear generator).

    The start. The discriminator counts its own updates; the first comes with training step
    start_step, and nothing of it is computed before.
    start_step: late enough that reconstructions have stopped improving fast. A discriminator
        that starts with the autoencoder mostly slows both.
    discriminator_warmup_steps: updates of the discriminator before the generator sees it, so
        that the generator's first adversarial gradients are not those of random weights.
    ramp_steps: the generator's term then rises linearly to its full weight over these.
        0 and 0 give the abrupt start of LDM.
    lr: the discriminator's peak learning rate; None is train.lr. Name one (1e-4 say) where
        train.lr is high, as it is beside Muon. lr_warmup_steps: its own linear warm-up. The
        schedule of train.lr applies on top.

    The discriminator is the PatchGAN of LDM.
    num_layers, base_channels: depth and width; a patch covers 70 pixels with 3 layers, 34 with 2.
    norm: `group` works with one image a rank; `batch` is LDM's and needs a large batch on every
        rank; `none`. spectral_norm: divide each weight by its largest singular value (Miyato et
        al. 2018), where the discriminator wins too fast; mostly with norm `none`.

    lecam_weight: LeCam regularisation (Tseng et al. 2021), against overfitting on few images;
        published values are 0.001 to 0.1. lecam_decay: of its moving averages.
    r1_weight: gamma of the R1 penalty (Mescheder et al. 2018), for a game that oscillates; it is
        taken at an image's mean logit, whose gradient is small: start near 10 to 1000 and watch
        the logged `r1`. Computed every r1_every updates, and then times r1_every.
    """

    weight: float = 0.0
    adaptive: bool = True
    loss: GanLoss = "hinge"
    start_step: int = 50_001
    discriminator_warmup_steps: int = 500
    ramp_steps: int = 1_000
    lr: float | None = None
    lr_warmup_steps: int = 100
    num_layers: Depth = 3
    base_channels: Width = 64
    norm: DiscriminatorNorm = "group"
    spectral_norm: bool = False
    lecam_weight: float = 0.0
    lecam_decay: float = 0.99
    r1_weight: float = 0.0
    r1_every: int = 16

    def __post_init__(self) -> None:
        not_negative = ("start_step", "discriminator_warmup_steps", "ramp_steps")
        weights = ("lr_warmup_steps", "lecam_weight", "r1_weight")
        for name in ("weight", *not_negative, *weights):
            if getattr(self, name) < 0:
                raise UserError(
                    f"loss.adversarial.{name}={getattr(self, name)}: use 0 (off) or more"
                )
        for name in ("num_layers", "r1_every"):
            if getattr(self, name) < 1:
                raise UserError(f"loss.adversarial.{name}={getattr(self, name)}: use 1 or more")
        if self.base_channels < 4 or self.base_channels % 4:
            raise UserError(
                f"loss.adversarial.base_channels={self.base_channels}: use a multiple of 4"
            )
        if self.lr is not None and self.lr <= 0:
            raise UserError(
                f"loss.adversarial.lr={self.lr}: use a positive learning rate, or leave it out"
                " for train.lr"
            )
        if not 0 <= self.lecam_decay < 1:
            raise UserError(
                f"loss.adversarial.lecam_decay={self.lecam_decay}: use a value in [0, 1)"
            )

    @property
    def smallest_image(self) -> int:
        """The least side, in pixels, that the discriminator gives logits for."""
        return int(3 * 2**self.num_layers)

    def generator_factor(self, updates: int) -> float:
        """Factor of the generator's term after this many updates of the discriminator."""
        seen = updates - self.discriminator_warmup_steps
        if seen < 0:
            return 0.0
        return min(1.0, (seen + 1) / self.ramp_steps) if self.ramp_steps else 1.0

    def lr_factor(self, updates: int) -> float:
        """Factor of the discriminator's learning rate for the update after `updates`."""
        return min(1.0, (updates + 1) / self.lr_warmup_steps) if self.lr_warmup_steps else 1.0
