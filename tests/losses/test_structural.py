import pytest
import torch

from ldm_ae.losses.structural import num_scales, structural_loss
from ldm_ae.metrics.distortion import ssim


def test_scales_that_fit() -> None:
    assert [num_scales(side) for side in (10, 11, 22, 64, 128, 176, 4096)] == [0, 1, 2, 3, 4, 5, 5]


def test_one_scale_is_ssim() -> None:
    x, y = torch.randint(256, (2, 1, 3, 21, 15), dtype=torch.uint8)
    expected = 1 - ssim(x, y).mean()
    found = structural_loss(x.double() / 127.5 - 1, y.double() / 127.5 - 1)
    torch.testing.assert_close(found, expected)


def test_an_offset_costs_little_in_grey_as_elsewhere() -> None:
    greys = torch.linspace(-0.8, 0.8, 9, dtype=torch.float64).view(9, 1, 1, 1).expand(9, 3, 64, 64)
    losses = torch.stack([structural_loss(grey[None], grey[None] + 0.05) for grey in greys])
    assert losses.max() < 0.02 and (losses.diff() < 0).all()  # Weber's law: more in the dark


def test_equal_images_cost_nothing_and_coarse_errors_cost_more() -> None:
    image = torch.rand(1, 3, 8, 8).repeat_interleave(12, 2).repeat_interleave(12, 3) * 2 - 1
    assert structural_loss(image, image).item() == pytest.approx(0, abs=1e-6)
    noise = 0.3 * torch.randn_like(image)
    blocks = torch.randn(1, 3, 6, 6).repeat_interleave(16, 2).repeat_interleave(16, 3)
    coarse = blocks * noise.std() / blocks.std()
    # Equal squared errors: one that survives averaging is seen at every scale.
    assert structural_loss(image + coarse, image) > 1.5 * structural_loss(image + noise, image)


def test_gradient_leads_to_the_image() -> None:
    target = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 68, 68), 5, 1) * 2 - 1
    output = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = structural_loss(output, target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
