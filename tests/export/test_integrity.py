"""An export on the disk: whole, readable by others, verified, and alone in its place."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import ldm_ae
from ldm_ae.codec.fitting.calibrate import calibrate
from ldm_ae.codec.priors.file import save_prior
from ldm_ae.export.export import export
from ldm_ae.files import aside_of
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig

CODER = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4)


def write(model, out: Path, overwrite: bool = False) -> Path:
    batches = [torch.rand(4, 3, 32, 32) * 2 - 1]
    return export(
        model,
        out,
        batches=batches,
        sample_size=32,
        resolved_config="",
        card={},
        overwrite=overwrite,
    )


@pytest.fixture
def exported(make_model, tmp_path: Path) -> Path:
    return write(make_model(KLConfig(coder=CODER)), tmp_path / "out")


def test_every_file_has_its_digest_and_the_mode_of_any_other(exported: Path) -> None:
    names = {path.name for path in exported.iterdir()}
    noted = json.loads((exported / "digests.json").read_text())["sha256"]
    assert set(noted) == names - {"digests.json"} and len(noted) >= 6
    (exported.parent / "any").touch()
    ordinary = (exported.parent / "any").stat().st_mode
    assert {path.stat().st_mode for path in exported.iterdir()} == {ordinary}


@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_one_flipped_bit_of_an_export_is_named(exported: Path, name: str) -> None:
    content = bytearray((exported / name).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        ldm_ae.load(exported)


def test_a_flipped_bit_of_the_prior_is_named_and_calibrating_mends_it(exported: Path) -> None:
    content = bytearray((exported / "prior.safetensors").read_bytes())
    content[-1] ^= 1
    (exported / "prior.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"prior\.safetensors is damaged"):
        ldm_ae.load_codec(exported)
    (exported / "prior.safetensors").write_bytes(b"")
    prior = calibrate(
        ldm_ae.load(exported), [np.eye(32, dtype=np.uint8)[..., None].repeat(3, 2)] * 2
    )
    save_prior(prior, exported)
    assert ldm_ae.load_codec(exported).compress(np.zeros((8, 8, 3), np.uint8))


def test_exports_of_earlier_versions_have_no_digests(exported: Path) -> None:
    (exported / "digests.json").unlink()
    assert ldm_ae.load_codec(exported)


def test_what_a_killed_export_left_goes(exported: Path) -> None:
    stale = aside_of(exported, ".writing")
    stale.mkdir()
    (stale / "config.json").touch()
    other = stale.with_name(stale.name.replace(str(os.getpid()), str(os.getppid())))
    other.mkdir()  # of a process that lives
    model = ldm_ae.load(exported)
    write(model, exported, overwrite=True)
    assert other.is_dir() and not stale.exists()
