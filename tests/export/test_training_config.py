from pathlib import Path

import pytest
import yaml

from ldm_ae.errors import UserError
from ldm_ae.export.training_config import without_places

CONFIG = """\
model:
  init_from: hub:someone/model
  coder: {channels: [16, 32]}
data: {path: /home/someone/photos, validation_path: ../held_out, kind: folder}
loss: {perceptual: {weights: /home/someone/squeezenet.safetensors}}
train: {run_dir: runs/kl, lr: 0.001}
"""


def test_paths_keep_their_last_part_and_the_hub_s_names_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert yaml.safe_load(without_places(tmp_path / "config.yaml")) == {
        "model": {"init_from": "hub:someone/model", "coder": {"channels": [16, 32]}},
        "data": {"path": "photos", "validation_path": "held_out", "kind": "folder"},
        "loss": {"perceptual": {"weights": "squeezenet.safetensors"}},
        "train": {"run_dir": "kl", "lr": 0.001},
    }


def test_what_is_no_yaml_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config\.yaml"):
        without_places(tmp_path / "config.yaml")
