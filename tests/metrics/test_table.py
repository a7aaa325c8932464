"""What holds of every metric in the table."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from skimage import data
from torch import Tensor

from ldm_ae.data.images import load_image
from ldm_ae.losses.backbones import Backbone
from ldm_ae.metrics.judges import Networks
from ldm_ae.metrics.panel import Panel, open_panel
from ldm_ae.metrics.table import METRICS, OF_NETWORK, ON_PAIRS, QUICK

# Of the pictures that the lpips package gives as its example: ex_ref against ex_p0 and ex_p1.
LPIPS_EXAMPLE = {
    "lpips_alex": (0.7219, 0.1376),
    "lpips_vgg": (0.5686, 0.4217),
    "lpips_squeeze": (0.7110, 0.1479),
}


@pytest.fixture(scope="module")
def panel(shared_dir: Path) -> Panel:
    """All of it, with the backbones' real weights."""
    folder = str(shared_dir / "weights")
    return open_panel(networks=Networks(weights=dict.fromkeys(get_args(Backbone), folder)))


def tensor(pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


PHOTO = tensor(data.astronaut()[:176, 100:292])


def noisy(strength: float) -> Tensor:
    noise = torch.randn(PHOTO.shape, generator=torch.Generator().manual_seed(0))
    return (PHOTO + strength * noise).round().clamp(0, 255).to(torch.uint8)


def test_more_noise_is_worse_by_every_metric(panel: Panel) -> None:
    original = panel.see(PHOTO)
    little, much = (original.scores(noisy(strength))[0].values for strength in (4, 16))
    for name in panel.judges:
        better, worse = little[name], much[name]
        if not METRICS[name].higher_is_better:
            better, worse = worse, better
        assert better > worse, name


def test_an_image_of_the_least_side_has_a_value_and_a_smaller_one_a_reason(panel: Panel) -> None:
    for name in panel.judges:
        side = METRICS[name].min_side
        values = panel.see(PHOTO[..., :side, :side]).scores(noisy(8)[..., :side, :side])[0].values
        assert values[name] is not None, name
        if side > 1:
            scores = panel.see(PHOTO[..., : side - 1, :]).scores(noisy(8)[..., : side - 1, :])[0]
            assert scores.values[name] is None and f"takes {side} pixels" in scores.reasons[name]


def test_a_batch_has_the_values_of_its_images(panel: Panel) -> None:
    pairs = [(PHOTO, noisy(4)), (PHOTO.flip(3), noisy(16))]
    batch = panel.see(torch.cat([x for x, _ in pairs])).scores(torch.cat([y for _, y in pairs]))
    for scores, (x, y) in zip(batch, pairs, strict=True):
        alone = panel.see(x).scores(y)[0].values
        assert scores.values == {name: pytest.approx(alone[name], rel=1e-5) for name in alone}


def test_lpips_of_the_published_example(panel: Panel, shared_dir: Path) -> None:
    folder = shared_dir / "weights" / "lpips_reference"
    reference, *others = (
        tensor(load_image(folder / f"ex_{name}.png")) for name in ("ref", "p0", "p1")
    )
    original = panel.see(reference)
    rows = [original.scores(other)[0].values for other in others]
    for name, expected in LPIPS_EXAMPLE.items():
        assert [row[name] for row in rows] == pytest.approx(expected, abs=5e-5), name


def test_without_weights_each_network_is_a_reason_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports never download; what needs nothing is there all the same."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", pytest.fail)
    panel = open_panel()
    assert {*QUICK, "embedded"} <= set(panel.judges)
    assert set(LPIPS_EXAMPLE) <= set(panel.reasons)
    for reason in panel.reasons.values():
        assert "not on this machine" in reason and "\n" not in reason
        assert str(tmp_path) not in reason  # it goes into cards


def test_every_network_of_a_loss_has_its_metric() -> None:
    assert set(OF_NETWORK.values()) <= set(ON_PAIRS)
    assert set(ON_PAIRS) == set(METRICS) - {"frechet"}
