import sys

import pytest
import torch
from skimage import data

from ldm_ae.metrics.flip import open_flip
from ldm_ae.metrics.judges import Networks

PHOTO = torch.from_numpy(data.astronaut()[:64, 100:196].copy()).permute(2, 0, 1)[None]


def test_golden_values() -> None:
    """flip-evaluator 1.7; a change of its default distance from the picture would show."""
    pytest.importorskip("flip_evaluator")
    judge = open_flip(Networks())
    original = judge.see(PHOTO)
    assert judge.compare(original, original).item() == 0
    brighter = (PHOTO.int() + 16).clamp(0, 255).to(torch.uint8)
    assert judge.compare(original, judge.see(brighter)).item() == pytest.approx(0.22874, abs=1e-4)
    swapped = PHOTO.flip(1)
    assert judge.compare(original, judge.see(swapped)).item() == pytest.approx(0.27585, abs=1e-4)


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    with pytest.raises(ImportError, match='flip-evaluator not installed: pip install "ldm-ae'):
        open_flip(Networks())
