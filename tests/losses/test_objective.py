import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.losses.objective import LossConfig, Objective
from ldm_ae.losses.perceptual import PerceptualConfig, build_perceptual
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.outputs import Reconstruction

CODER = CoderConfig(channels=(8, 8, 8, 8), num_res_blocks=1, norm_groups=4)


def objective(**settings) -> Objective:
    config = LossConfig(perceptual=PerceptualConfig(net="embedded"), **settings)
    return Objective(config, build_perceptual(config.perceptual), 4 / (3 * 64))


def test_ldms_summed_weight_becomes_the_known_mean_weight() -> None:
    assert objective(kl_weight=1e-6).kl_weight == pytest.approx(2.0833e-8, rel=1e-4)
    assert objective(kl_weight=1e-6, kl_units="mean").kl_weight == 1e-6


def test_total_is_ldms_sum_over_an_image_divided_by_its_values() -> None:
    images, output = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    kl = torch.rand(2, 4, 4, 4)  # per element
    ours = objective(kl_weight=0.01, log_variance_init=0.3)
    reconstruction = Reconstruction(output, kl, {"kl": kl.mean()})
    log_variance = torch.tensor(0.3)
    losses = ours(images, reconstruction, log_variance, step=0)

    distance = build_perceptual(PerceptualConfig(net="embedded"))(output, images)
    error = (images - output).abs() + distance.view(-1, 1, 1, 1)
    nll = (error / log_variance.exp() + log_variance).sum() / 2
    ldm = nll + 0.01 * kl.sum() / 2
    torch.testing.assert_close(losses.total, ldm / (3 * 32 * 32))
    torch.testing.assert_close(losses.reconstruction, nll / (3 * 32 * 32))


def test_perceptual_term_alone_moves_the_decoder_and_the_encoder() -> None:
    model = build_model(KLConfig(coder=CODER))
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    losses = objective(reconstruction_weight=0.0, kl_weight=0.0)(
        images, model(images), torch.tensor(0.0), step=0
    )
    losses.total.backward()
    for part in (model.decoder.conv_out, model.decoder.conv_in, model.encoder.conv_in):
        assert float(part.weight.grad.abs().max()) > 0


@pytest.mark.parametrize("name", ["structural", "colour", "texture"])
def test_each_further_term_is_weighed_named_and_differentiable(name: str) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    output = Reconstruction((torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_(), images)
    off = {"reconstruction_weight": 0.0, "perceptual_weight": 0.0}
    ours = objective(**off, **{f"{name}_weight": 0.5})
    losses = ours(images, output, torch.tensor(0.0), step=0)
    assert set(losses.terms) == {"loss", "l1", name}
    torch.testing.assert_close(losses.total.detach(), 0.5 * losses.terms[name])
    torch.testing.assert_close(losses.reconstruction, losses.total)
    losses.total.backward()
    assert float((output.images.grad != 0).double().mean()) > 0.5


def test_smallest_image_of_the_terms_in_use() -> None:
    assert LossConfig().smallest_image == 1
    assert LossConfig(structural_weight=1).smallest_image == 11


def test_terms_that_are_off_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("computed although off")

    for name in ("structural_loss", "random_view", "texture_distance"):
        monkeypatch.setattr(f"ldm_ae.losses.objective.{name}", never)
    images = torch.zeros(1, 3, 32, 32)
    losses = objective()(images, Reconstruction(images, images), torch.tensor(0.0), step=0)
    assert set(losses.terms) == {"loss", "l1", "perceptual"}


def test_a_perceptual_weight_of_0_needs_no_network() -> None:
    images = torch.rand(2, 3, 32, 32)
    config = LossConfig(perceptual_weight=0.0)
    losses = Objective(config, None, 1.0)(
        images, Reconstruction(images / 2, images), torch.tensor(0.0), step=0
    )
    assert set(losses.terms) == {"loss", "l1"}
    torch.testing.assert_close(losses.total, (images / 2).mean())


def test_log_variance_has_a_gradient() -> None:
    log_variance = torch.tensor(0.0, requires_grad=True)
    images = torch.zeros(1, 3, 32, 32)
    config = LossConfig(perceptual_weight=0.0)
    losses = Objective(config, None, 1.0)(
        images, Reconstruction(images + 0.25, images), log_variance, step=0
    )
    losses.total.backward()
    assert float(log_variance.grad) == 1 - 0.25  # of 0.25 exp(-s) + s at s = 0


def test_kl_weight_warms_up() -> None:
    ours = objective(kl_weight=1.0, kl_units="mean", kl_warmup_steps=10)
    weights = [ours.penalty_weight("kl", step) for step in (0, 5, 10, 99)]
    assert weights == [0.0, 0.5, 1.0, 1.0]


def test_the_rates_weight_starts_late_and_rises() -> None:
    ours = objective(rate_weight=2.0, rate_start_step=100, rate_warmup_steps=10)
    weights = [ours.penalty_weight("rate", step) for step in (0, 99, 100, 105, 110, 999)]
    assert weights == [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]
    at_once = objective(rate_weight=2.0, rate_start_step=3)
    assert [at_once.penalty_weight("rate", step) for step in (2, 3)] == [0.0, 2.0]


def test_a_prior_and_a_lesson_weigh_1_whatever_a_codebook_weighs() -> None:
    ours = objective(codebook_weight=0.25)
    names = ("prior", "latents", "commitment")
    assert [ours.penalty_weight(name, 0) for name in names] == [1.0, 1.0, 0.25]


def test_terms_are_detached() -> None:
    images = torch.zeros(1, 3, 32, 32)
    output = Reconstruction(torch.zeros_like(images).requires_grad_(), images)
    losses = objective()(images, output, torch.tensor(0.0), step=0)
    assert not any(term.requires_grad for term in losses.terms.values())


def test_negative_weight_is_named() -> None:
    with pytest.raises(ValueError, match="loss.kl_weight=-1"):
        LossConfig(kl_weight=-1)


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.05, 1.0), (1.0, 5.0)])
def test_view_sizes_that_are_none_are_named(scales: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"loss\.view_scales=.*use two numbers from 0\.1 to 4"):
        LossConfig(view_scales=scales)
