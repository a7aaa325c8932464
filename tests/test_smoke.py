"""The whole way in small, by the command alone: train, export, load, compress, measure.

Runs in a folder of its own and needs no file of the repository, so that `make test-lowest` can run
it on the installed wheel with the lowest versions of all that it depends on.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ldm_ae
from ldm_ae.cli.main import main

TINY = [
    "model.coder.channels=[8, 8, 16, 16]",
    "model.coder.norm_groups=2",
    "data.size=32",
    "data.num_workers=0",
    "train.device=cpu",
    "train.precision=fp32",
    "train.kernels=plain",
    "train.steps=3",
    "train.batch_size=2",
    "train.warmup_steps=1",
]


def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config", "quickstart", *TINY]) == 0
    assert main(["export", "runs/quickstart", "vae", "--max-images", "8"]) == 0
    model = ldm_ae.load("vae")
    images = torch.rand(1, 3, 40, 56) * 2 - 1
    assert model.reconstruct(images).shape == images.shape

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)).save("a.png")
    assert main(["compress", "a.png", "a.lae", "--model", "vae"]) == 0
    assert main(["decompress", "a.lae", "b.png", "--model", "vae"]) == 0
    assert main(["info", "a.lae"]) == 0
    assert main(["evaluate", "vae", "embedded", "--limit", "1", "--metrics", "psnr"]) == 0
    shown = capsys.readouterr().out
    assert "size: 50x37" in shown and "PSNR, dB  " in shown
    with Image.open("b.png") as back:
        assert back.size == (50, 37)
        assert (
            np.asarray(back) == ldm_ae.load_codec("vae").decompress(Path("a.lae").read_bytes())
        ).all()
