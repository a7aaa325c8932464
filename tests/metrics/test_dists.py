from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ldm_ae.data.images import load_image
from ldm_ae.metrics import dists
from ldm_ae.metrics.distortion import psnr
from ldm_ae.metrics.dists import DISTS, open_dists
from ldm_ae.metrics.judges import Networks

# dists-pytorch 0.1 on the same VGG16: ex_ref of the lpips package's example against the others.
GOLDEN = {"p0": 0.3879273, "p1": 0.2250237}


@pytest.fixture(scope="module")
def judge(shared_dir: Path) -> DISTS:
    return open_dists(Networks(weights={"vgg": str(shared_dir / "weights")}))


@pytest.fixture(scope="module")
def example(shared_dir: Path) -> dict[str, Tensor]:
    folder = shared_dir / "weights" / "lpips_reference"
    return {
        name: torch.from_numpy(load_image(folder / f"ex_{name}.png").copy()).permute(2, 0, 1)[None]
        for name in ("ref", "p0", "p1")
    }


def test_golden_values(judge: DISTS, example: dict[str, Tensor]) -> None:
    original = judge.see(example["ref"])
    for name, expected in GOLDEN.items():
        value = judge.compare(original, judge.see(example[name])).item()
        assert value == pytest.approx(expected, abs=2e-6)


def test_the_packages_own_class_gives_the_same(
    judge: DISTS, example: dict[str, Tensor], shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models.vgg import cfgs, make_layers

    package = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    vgg = nn.Module()
    vgg.features = make_layers(cfgs["D"], batch_norm=False)
    vgg.load_state_dict(load_file(shared_dir / "weights" / "vgg16_features.safetensors"))
    monkeypatch.setattr(package.models, "vgg16", lambda pretrained: vgg)
    theirs = package.DISTS(load_weights=False)
    theirs.load_state_dict(
        torch.load(Path(package.__file__).parent / "weights.pt", weights_only=True), strict=False
    )
    x, y = torch.cat([example["ref"]] * 2), torch.cat([example["p0"], example["p1"]])
    ours = judge.compare(judge.see(x), judge.see(y))
    torch.testing.assert_close(ours, theirs(x / 255, y / 255), rtol=0, atol=2e-6)


def test_equal_images_have_no_distance(judge: DISTS, example: dict[str, Tensor]) -> None:
    seen = judge.see(example["ref"])
    assert judge.compare(seen, seen).abs().item() < 1e-6


def test_texture_that_moved_is_nearer_than_texture_that_is_gone(judge: DISTS) -> None:
    noise = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    seen = judge.see(noise)
    moved, gone = noise.roll(17, 2), torch.full_like(noise, 128)
    assert psnr(noise, moved) < psnr(noise, gone)
    distances = [judge.compare(seen, judge.see(image)).item() for image in (moved, gone)]
    assert distances[0] < distances[1] / 2


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dists, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match='dists-pytorch not installed: pip install "ldm-ae.bench'):
        dists._package()
