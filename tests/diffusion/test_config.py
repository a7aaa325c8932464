"""Mistakes in a denoiser's config are one message each."""

from pathlib import Path

import pytest

from ldm_ae.config import SHIPPED
from ldm_ae.diffusion.config import load_diffusion
from ldm_ae.errors import UserError

OWN = {"store": "latents", "model": "kl16", "run_dir": "runs/a"}


def test_the_shipped_one_is_read() -> None:
    (path,) = SHIPPED.glob("diffusion_*.yaml")
    read = load_diffusion(path, ["train.steps=7"], **OWN)
    assert (read.store, read.model, read.train.run_dir, read.train.steps) == (
        "latents",
        "kl16",
        "runs/a",
        7,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.sped=1", "train.sped: unknown key"),
        ("train.steps=0", "train.steps=0: use 1 or more"),
        ("train.sample_every=0", "train.sample_every=0: use 1 or more"),
        ("train.label_dropout=1", "train.label_dropout=1"),
        ("sampling.guidance=0", "guidance=0"),
        ("denoiser.num_layers=0", "denoiser.num_layers=0: use 1 or more"),
        ("denoiser.patch_size=0", "denoiser.patch_size=0: use 1 or more"),
        ("denoiser.num_layers=many", "denoiser.num_layers=many"),
        ("denoiser={num_heads: 1, head_dim: 6}", "their product 6, must be a multiple of 4"),
        ("train.label_dropout=0", "guidance=2.0 with train.label_dropout=0"),
        ("train=7", "train"),
    ],
)
def test_mistakes_are_named(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_diffusion("diffusion_small", [override], **OWN)
