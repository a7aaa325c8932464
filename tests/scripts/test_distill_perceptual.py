"""The distillation runs from photos to weights, and a resumed run is the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ldm_ae.losses.embedded import CARD_NAME, WEIGHTS_NAME, EmbeddedPerceptual
from ldm_ae.losses.perceptual import _lpips_module

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The script on four small pictures with a random teacher."""
    torch.manual_seed(0)
    slices = _lpips_module("squeeze").net.state_dict()
    teacher = {f"features.{name.partition('.')[2]}": tensor for name, tensor in slices.items()}
    save_file(teacher, tmp_path / "teacher.safetensors")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 255, (14, 12, 3), dtype=np.uint8))
        coarse.resize((120, 140)).save(tmp_path / "photos" / f"{index}.png")
    script = [sys.executable, str(SCRIPTS / "distill_perceptual.py")]
    inputs = ["--images", str(tmp_path / "photos"), "--weights"]
    return [*script, *inputs, str(tmp_path / "teacher.safetensors"), "--steps", "4"]


def run(command: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_weights_card_and_exact_resume(command: list[str], tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert run(command, "--out", str(whole)).returncode == 0
    assert run(command, "--out", str(halves), "--stop-at", "2").returncode == 0
    assert not (halves / WEIGHTS_NAME).exists()
    assert run(command, "--out", str(halves), "--resume").returncode == 0
    first, second = load_file(whole / WEIGHTS_NAME), load_file(halves / WEIGHTS_NAME)
    EmbeddedPerceptual().load_state_dict(first, strict=True)
    assert all(torch.equal(first[name], second[name]) for name in first)
    card = json.loads((whole / CARD_NAME).read_text())
    assert card["num_photos"] == 4 and card["settings"]["steps_per_stage"] == 2


def test_missing_photos_are_named(command: list[str], tmp_path: Path) -> None:
    result = run(command, "--images", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert result.returncode != 0
    assert "nowhere: no such folder or file" in result.stderr
    assert not (tmp_path / "out").exists()
