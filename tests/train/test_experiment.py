import pytest

from ldm_ae import config
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.train.config import Experiment

LOGIT = "loss.reconstruction=logit_laplace"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.size=15",
            "data.size=15 is not divisible by the model's downsampling factor 2: use 14",
        ),
        ("data.channels=1", "data.channels=1 but model.coder.image_channels=3"),
        (LOGIT, "need each other"),
        ("train.steps=0", "train.steps=0"),
        ("train.lr=-1", "train.lr=-1"),
        ("train.ema_decay=1", "train.ema_decay=1"),
        ("train.betas=[0.9, 1]", r"train.betas=\[0.9, 1.0\]: use values in"),
        ("train.lr=nan", "train.lr"),
        ("train.clip_norm=-1", "train.clip_norm=-1"),
        ("train.seed=-1", "train.seed=-1"),
        ("model.latent_channels=0", "model.latent_channels=0"),
        ("model.coder.norm_groups=0", "coder.norm_groups=0"),
        ("loss.adversarial={weight: 1, base_channels: 7}", "base_channels=7"),
        ("loss.adversarial={weight: 1, num_layers: 3}", "data.size=16 is too small for a disc"),
        ("train.sped=1", "train.sped: unknown key"),
        ("train.lr=fast", "train.lr=fast"),
        ("train.best_metric=frechet", "best_metric=frechet needs train.frechet.weights"),
        ("train.best_metric=lpips", "best_metric=lpips needs loss.perceptual.net=vgg"),
        ("train.best_metric=lpip", "best_metric=lpip: there is no such metric; name one of psnr"),
        ("train.best_metric=ms_ssim", "best_metric=ms_ssim needs data.size=161"),
        ("train.trackers=[mlflow]", "train.trackers"),
    ],
)
def test_bad_values_are_named(make_experiment, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_experiment(override)


def test_validation_measures_what_is_quick_the_networks_own_and_the_best(make_experiment) -> None:
    quick = ["psnr", "ssim", "ms_ssim"]
    assert make_experiment().validation_metrics == quick
    squeeze = "loss.perceptual.net=squeeze"
    assert make_experiment(squeeze).validation_metrics == [*quick, "lpips_squeeze"]
    chosen = make_experiment(squeeze, "train.best_metric=lpips_alex", "data.size=32")
    assert chosen.validation_metrics == [*quick, "lpips_alex", "lpips_squeeze"]


def test_lpips_is_that_of_the_loss(make_experiment) -> None:
    experiment = make_experiment(
        "loss.perceptual.net=squeeze", "train.best_metric=lpips", "data.size=32"
    )
    assert experiment.best_metric == "lpips_squeeze"
    assert experiment.train.best_metric == "lpips"


def test_configs_of_earlier_versions_have_no_shift() -> None:
    content = {"model": {"kind": "kl"}, "scaling": {"scaling_factor": 0.5, "shift_factor": None}}
    experiment = config.build(Experiment, {**content, "data": {"path": "photos"}}, "here")
    assert experiment.scaling == LatentScaling(0.5, 0.0)
