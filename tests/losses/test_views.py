import torch

from ldm_ae.losses.views import random_view, smallest_image


def test_both_sides_get_one_view_that_follows_from_the_step() -> None:
    x = torch.rand(2, 3, 64, 48) * 2 - 1
    a, b = random_view(x, x, step=3)
    assert torch.equal(a, b)
    assert torch.equal(a, random_view(x, x, step=3)[0])
    again = random_view(x, x, step=4)[0]
    assert a.shape != again.shape or not torch.equal(a, again)


def test_views_differ_in_size_place_and_colour() -> None:
    x = torch.rand(1, 3, 64, 64)
    views = [random_view(x, x, step)[0] for step in range(40)]
    sides = [max(view.shape[2:]) for view in views]
    assert min(sides) < 36 and 60 < max(sides) <= 64
    # Half of 64, less seven: no view is smaller.
    assert min(min(view.shape[2:]) for view in views) >= 25
    means = torch.stack([view.mean((0, 2, 3)) for view in views])
    assert means.std(0).min() > 0.03


def test_gradient_passes() -> None:
    x = (torch.rand(1, 3, 32, 32)).requires_grad_()
    a, b = random_view(x, torch.zeros(1, 3, 32, 32), step=1)
    (a - b).square().mean().backward()
    assert float(x.grad.abs().max()) > 0


def test_no_view_is_smaller_than_was_promised() -> None:
    images = torch.zeros(1, 3, smallest_image(17), smallest_image(17))
    sides = {min(random_view(images, images, step)[0].shape[2:]) for step in range(300)}
    assert min(sides) in (17, 18) and max(sides) > 30
