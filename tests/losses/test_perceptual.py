"""LPIPS through our wrapper: the published value, a live gradient, and clear failures."""

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ldm_ae.losses import backbones
from ldm_ae.losses.perceptual import (
    LPIPSNetwork,
    PerceptualConfig,
    PerceptualLoss,
    _lpips_module,
    build_perceptual,
    to_rgb,
)


def random_backbone(net: backbones.Backbone = "squeeze") -> dict[str, Tensor]:
    """torchvision's names with random numbers."""
    torch.manual_seed(0)
    slices = _lpips_module(net).net.state_dict()
    return {f"features.{name.partition('.')[2]}": tensor for name, tensor in slices.items()}


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    return PerceptualLoss(LPIPSNetwork("squeeze", random_backbone()), "LPIPS-squeeze")


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, 48, 40, generator=generator) * 2 - 1
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


@pytest.mark.parametrize("net", ["squeeze", "alex"])
def test_value_and_gradient_are_the_packages(
    net: backbones.Backbone, pair: tuple[Tensor, Tensor]
) -> None:
    backbone = random_backbone(net)
    ours = PerceptualLoss(LPIPSNetwork(net, backbone), net)
    package = _lpips_module(net)
    package.net.load_state_dict(
        {name: backbone[f"features.{name.partition('.')[2]}"] for name in package.net.state_dict()}
    )
    x, y = pair
    results = []
    for distance in (ours, package):
        image = x.clone().requires_grad_()
        value = distance(image, y).flatten()
        value.sum().backward()
        results.append((value.detach(), image.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-6)


def test_frozen_and_out_of_every_state_dict(perceptual: PerceptualLoss) -> None:
    parent = nn.Sequential(perceptual)
    assert list(parent.parameters()) == []
    assert parent.state_dict() == {}
    assert parent.load_state_dict({}, strict=True).missing_keys == []
    assert sum(buffer.numel() for buffer in parent.buffers()) > 700_000  # it is there all the same


def test_parent_cannot_switch_it_to_training(
    perceptual: PerceptualLoss, pair: tuple[Tensor, Tensor]
) -> None:
    before = perceptual(*pair)
    nn.Sequential(perceptual).train()
    assert not any(module.training for module in perceptual.modules())
    torch.testing.assert_close(perceptual(*pair), before, rtol=0, atol=0)


def test_gradient_is_live_on_either_side(
    perceptual: PerceptualLoss, pair: tuple[Tensor, Tensor]
) -> None:
    x, y = (image.clone().requires_grad_() for image in pair)
    perceptual(x, y).sum().backward()
    assert x.grad is not None and y.grad is not None
    assert x.grad.abs().sum() > 0 and y.grad.abs().sum() > 0
    alone = pair[0].clone().requires_grad_()
    perceptual(alone, pair[1]).sum().backward()
    torch.testing.assert_close(alone.grad, x.grad)


def test_fp32_inside_autocast(perceptual: PerceptualLoss, pair: tuple[Tensor, Tensor]) -> None:
    outside = perceptual(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = perceptual(*pair)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


def test_constant_images_have_a_finite_gradient(perceptual: PerceptualLoss) -> None:
    image = torch.full((1, 3, 32, 32), -1.0, requires_grad=True)
    perceptual(image, torch.ones(1, 3, 32, 32)).sum().backward()
    assert image.grad is not None and image.grad.isfinite().all()


def test_channels(perceptual: PerceptualLoss, pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    grey = perceptual(x[:, :1], y[:, :1])
    torch.testing.assert_close(
        grey, perceptual(x[:, :1].repeat(1, 3, 1, 1), y[:, :1].repeat(1, 3, 1, 1))
    )
    opaque, clear = torch.ones(2, 1, 48, 40), -torch.ones(2, 1, 48, 40)
    with_alpha = perceptual(torch.cat([x, opaque], 1), torch.cat([y, opaque], 1))
    torch.testing.assert_close(with_alpha, perceptual(x, y))
    unseen = perceptual(torch.cat([x, clear], 1), torch.cat([y, clear], 1))
    torch.testing.assert_close(unseen, torch.zeros(2))  # nothing shows, nothing differs
    with pytest.raises(ValueError, match="2 channels"):
        to_rgb(x[:, :2])


def test_unusable_images_are_named(perceptual: PerceptualLoss) -> None:
    with pytest.raises(ValueError, match="at least 17 pixels"):
        perceptual(torch.zeros(1, 3, 16, 64), torch.zeros(1, 3, 16, 64))
    with pytest.raises(ValueError, match="differ in shape"):
        perceptual(torch.zeros(1, 3, 32, 32), torch.zeros(2, 3, 32, 32))


def test_none_is_no_network() -> None:
    with pytest.raises(ValueError, match="there is no network to build"):
        build_perceptual(PerceptualConfig("none"))


def test_building_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "backbone.safetensors"
    save_file(random_backbone(), path)
    build_perceptual(PerceptualConfig("squeeze", str(path)))  # warnings are errors in the tests
    assert capsys.readouterr() == ("", "")


def test_backbone_from_a_torchvision_checkpoint(tmp_path: Path) -> None:
    state = random_backbone() | {"classifier.1.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "squeezenet.pth")
    loaded = backbones.load_backbone("squeeze", str(tmp_path / "squeezenet.pth"))
    assert set(loaded) == set(random_backbone())


def test_backbone_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    name = backbones._torchvision_url("squeeze").rsplit("/", 1)[-1]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(random_backbone(), tmp_path / "hub" / "checkpoints" / name)
    loaded = backbones.load_backbone("squeeze", None)
    torch.testing.assert_close(loaded["features.0.weight"], random_backbone()["features.0.weight"])


def test_backbone_from_a_folder_of_several(tmp_path: Path) -> None:
    for net in ("squeeze", "alex"):
        save_file(random_backbone(net), tmp_path / backbones.features_file(net))
    assert set(backbones.load_backbone("alex", tmp_path)) == set(random_backbone("alex"))


def test_nothing_is_downloaded_unless_asked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", pytest.fail)
    with pytest.raises(ValueError, match="the weights of vgg16 are not on this machine: `ldm-ae"):
        build_perceptual(PerceptualConfig("vgg"), download=False)


def test_other_backbones_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alex.safetensors"
    save_file(random_backbone("alex"), path)
    with pytest.raises(ValueError, match=r"not torchvision's `features.*` of squeeze"):
        build_perceptual(PerceptualConfig("squeeze", str(path)))


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_unreadable_file_names_the_ways_out(
    tmp_path: Path, content: bytes | None, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        build_perceptual(PerceptualConfig("vgg", str(path)))
    assert_ways_out(str(caught.value))
    assert str(path) in str(caught.value)


def test_no_network_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(ValueError) as caught:
        build_perceptual(PerceptualConfig("vgg"))
    assert_ways_out(str(caught.value))
    assert "no route to host" in str(caught.value)


def assert_ways_out(message: str) -> None:
    assert "loss.perceptual.weights=FILE" in message
    assert (
        "ldm-ae fetch-weights" in message
        and "vgg16-397923af.pth" in message
        and "checkpoints" in message
    )
    assert "loss.perceptual.net=embedded" in message


def test_config_alone_does_not_import_lpips() -> None:
    import subprocess

    code = (
        "import sys, ldm_ae.losses.perceptual as p; p.PerceptualConfig(); "
        "sys.exit('lpips' in sys.modules or 'torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
