import json
from pathlib import Path

import pytest
import torch

import ldm_ae
from ldm_ae.convert.places import model_place
from ldm_ae.errors import UserError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_shards(tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / WEIGHTS).unlink(missing_ok=True)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    check_kl(ldm_ae.load(tmp_path), theirs, images)
    index = tmp_path / (WEIGHTS + ".index.json")
    content = json.loads(index.read_text())
    content["weight_map"]["encoder.conv_in.bias"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not beside it"):
        ldm_ae.load(tmp_path)


def test_half_precision_variant(tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path).half()
    (tmp_path / WEIGHTS).unlink()
    theirs.save_pretrained(tmp_path, variant="fp16")
    theirs = theirs.float()
    for variant in (None, "fp16"):  # there is no other
        check_kl(ldm_ae.load(tmp_path, variant=variant), theirs, images)
    with pytest.raises(ValueError, match=r"it holds diffusion_pytorch_model\.fp16\.safetensors"):
        ldm_ae.load(tmp_path, variant="ema")
    theirs.save_pretrained(tmp_path, variant="ema")
    with pytest.raises(ValueError, match=r"ema\.safetensors, .*; choose with variant="):
        ldm_ae.load(tmp_path)


def test_bin_is_read_only_without_safetensors(tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path)
    torch.save(theirs.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    (tmp_path / WEIGHTS).unlink()
    check_kl(ldm_ae.load(tmp_path), theirs, images)
    save_kl(tmp_path, seed=1)
    other = ldm_ae.load(tmp_path)
    assert not torch.equal(other.decoder.conv_in.weight, theirs.decoder.conv_in.weight)


class _Attack:
    def __reduce__(self):
        return (print, ("code ran",))


def test_bin_cannot_run_code(tmp_path, capsys, save_kl):
    save_kl(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save({"x": _Attack()}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        ldm_ae.load(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_shards_of_half_precision_alone(tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path).half()
    theirs.save_pretrained(tmp_path, variant="fp16", max_shard_size="20KB")
    (tmp_path / WEIGHTS).unlink()
    check_kl(ldm_ae.load(tmp_path), theirs.float(), images)


@pytest.mark.parametrize("name", ["vae", "vqvae"])
def test_whole_pipeline_folders(name, tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path / name)
    (tmp_path / "model_index.json").write_text("{}")
    check_kl(ldm_ae.load(tmp_path), theirs, images)
    check_kl(ldm_ae.load(tmp_path, subfolder=name), theirs, images)
    with pytest.raises(ValueError, match=r"unet has no config\.json"):
        ldm_ae.load(tmp_path, subfolder="unet")


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere has no config\.json, for it is no folder"):
        ldm_ae.load(tmp_path / "nowhere")


def test_of_a_runs_folder_the_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "export").mkdir(parents=True)
    with pytest.raises(UserError, match="or of a diffusers model$"):
        model_place(tmp_path / "run")
    (tmp_path / "run" / "export" / "config.json").touch()
    with pytest.raises(UserError, match="run/export is one$"):
        model_place(tmp_path / "run")
