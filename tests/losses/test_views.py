import torch

from ldm_ae.losses.views import random_view, smallest_image

SCALES = (0.5, 1.0)


def test_both_sides_get_one_view_that_follows_from_the_step() -> None:
    x = torch.rand(2, 3, 64, 48) * 2 - 1
    a, b = random_view(x, x, step=3, scales=SCALES)
    assert torch.equal(a, b)
    assert torch.equal(a, random_view(x, x, step=3, scales=SCALES)[0])
    again = random_view(x, x, step=4, scales=SCALES)[0]
    assert a.shape != again.shape or not torch.equal(a, again)


def test_views_differ_in_size_place_and_colour() -> None:
    x = torch.rand(1, 3, 64, 64)
    views = [random_view(x, x, step, SCALES)[0] for step in range(40)]
    sides = [max(view.shape[2:]) for view in views]
    assert min(sides) < 36 and 60 < max(sides) <= 64
    # Half of 64, less seven: no view is smaller.
    assert min(min(view.shape[2:]) for view in views) >= 25
    means = torch.stack([view.mean((0, 2, 3)) for view in views])
    assert means.std(0).min() > 0.03


def test_gradient_passes() -> None:
    x = (torch.rand(1, 3, 32, 32)).requires_grad_()
    a, b = random_view(x, torch.zeros(1, 3, 32, 32), step=1, scales=SCALES)
    (a - b).square().mean().backward()
    assert float(x.grad.abs().max()) > 0


def test_no_view_is_smaller_than_was_promised() -> None:
    images = torch.zeros(1, 3, smallest_image(17, SCALES[0]), smallest_image(17, SCALES[0]))
    sides = {min(random_view(images, images, step, SCALES)[0].shape[2:]) for step in range(300)}
    assert min(sides) in (17, 18) and max(sides) > 30


def test_views_may_be_larger_than_the_image() -> None:
    x = torch.rand(1, 3, 64, 64)
    sides = [max(random_view(x, x, step, (0.7, 1.4))[0].shape[2:]) for step in range(40)]
    assert min(sides) < 56 and 80 < max(sides) <= 90
