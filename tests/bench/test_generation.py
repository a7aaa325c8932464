"""Two latent spaces compared at a tiny scale, stopped and taken up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.bench import generation
from ldm_ae.bench.generation import Comparison, compare, save_grids
from ldm_ae.errors import UserError

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"

# diffusers' solver turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    overrides = (
        "denoiser={num_layers: 1, num_heads: 1, head_dim: 8, patch_size: 4}",
        "sampling={num_steps: 2, rows: 1}",
        "train={steps: 2, batch_size: 2, num_workers: 0, trackers: []}",
    )
    return Comparison(str(tmp_path / "photos"), 16, 4, "diffusion_small", overrides, tmp_path / "w")


def colours(pixels: torch.Tensor) -> torch.Tensor:
    """Features that are quick to compute: (B, 3)."""
    return pixels.float().mean((2, 3))


def test_both_spaces_are_measured_and_a_stopped_run_goes_on(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Identity()
    network.forward = colours  # type: ignore[method-assign]
    monkeypatch.setattr(generation, "load_efficientnet", lambda: network)
    models = {"a": GOLDEN / "kl_v1", "b": GOLDEN / "kl_context_v1"}
    report = compare(comparison, models)
    assert [row["name"] for row in report["rows"]] == ["a", "b"]
    for row in report["rows"]:
        assert row["frechet"] > 0 and row["channels"] == 4
        assert row["floor"] == report["rows"][0]["floor"] and row["num_samples"] == 4
    assert str(tmp_path) not in str(report)
    save_grids(comparison, ["a", "b"], tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (32, 16 + 8 + 16)

    (comparison.work / "features" / "b-0000.pt").unlink()
    monkeypatch.setattr(generation, "_photos", lambda *_: [None])  # whose features are there
    assert compare(comparison, models)["rows"] == report["rows"]


def test_a_broken_photo_is_named_and_no_figure_rests_on_it(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Identity()
    network.forward = colours  # type: ignore[method-assign]
    monkeypatch.setattr(generation, "load_efficientnet", lambda: network)
    broken = Path(comparison.images) / "a" / "8.png"
    broken.write_bytes(b"no picture")
    models = {"a": GOLDEN / "kl_v1"}
    with pytest.raises(UserError, match=r"1 photos cannot be used: remove them\. a/8\.png: "):
        compare(comparison, models)
    broken.unlink()
    afresh = replace(comparison, work=comparison.work.with_name("afresh"))
    assert compare(comparison, models)["rows"] == compare(afresh, models)["rows"]


def test_too_few_photos_are_refused(comparison: Comparison) -> None:
    more = Comparison(**{**vars(comparison), "samples": 5})
    with pytest.raises(UserError, match="8 photos: two sets of 5 need more"):
        compare(more, {"a": GOLDEN / "kl_v1"})
