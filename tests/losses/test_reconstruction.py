import torch

from ldm_ae.losses.reconstruction import LOGIT_EPS, l1, l2, logit_laplace


def test_l1_and_l2_are_means_over_all_values() -> None:
    output, images = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4)
    assert float(l1(output, images)) == 0.5
    assert float(l2(output, images)) == 0.25


def test_logit_laplace_is_a_normalised_density() -> None:
    # exp(-nll) over the intensities in (0, 1) must integrate to 1, whatever mu and b.
    x = torch.linspace(1e-5, 1 - 1e-5, 400_001, dtype=torch.float64)
    images = ((x - LOGIT_EPS) / (1 - 2 * LOGIT_EPS) * 2 - 1).view(-1, 1, 1, 1)
    for location, log_b in ((0.3, -1.0), (-0.8, -0.3)):
        nll = torch.stack(
            [
                logit_laplace(torch.full_like(v, location), torch.full_like(v, log_b), v)
                for v in images[::400]
            ]
        )
        density = torch.exp(-nll)
        integral = torch.trapezoid(density, x[::400])
        torch.testing.assert_close(integral, torch.ones_like(integral), atol=5e-3, rtol=0)


def test_logit_laplace_is_least_at_the_image() -> None:
    images = torch.rand(1, 3, 4, 4) * 2 - 1
    output = (images + 0.2).requires_grad_()
    scale = torch.full_like(images, -2.0)
    loss = logit_laplace(output, scale, images)
    assert float(loss.detach()) > float(logit_laplace(images, scale, images))
    (gradient,) = torch.autograd.grad(loss, output)
    assert (gradient > 0).all()


def test_an_output_beyond_the_limit_finds_its_way_back() -> None:
    output = torch.tensor([[[[3.0, -3.0]]]], requires_grad=True)
    loss = logit_laplace(output, torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    (gradient,) = torch.autograd.grad(loss, output)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 0, 0, 0] > 0 > gradient[0, 0, 0, 1]
