import json
import subprocess
import sys

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm_ae

WEIGHTS = "diffusion_pytorch_model.safetensors"


def save_vq(folder):
    torch.manual_seed(0)
    theirs = diffusers.VQModel(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        norm_num_groups=4,
        num_vq_embeddings=32,
        vq_embed_dim=5,
    ).eval()
    theirs.quantize.embedding.weight.data.normal_()
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize("changes", [{}, {"use_quant_conv": False, "use_post_quant_conv": False}])
def test_autoencoder_kl(changes, tmp_path, images, save_kl, close, check_kl):
    theirs = save_kl(tmp_path, **changes)
    model = ldm_ae.load(tmp_path)
    check_kl(model, theirs, images)
    assert isinstance(model, ldm_ae.KLAutoencoder)
    assert not model.training
    assert model.scaling_factor == 0.37
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    with torch.no_grad():
        close(model.posterior(images).logvar, theirs.encode(images).latent_dist.logvar)


@torch.no_grad()
def test_vq_model(tmp_path, images, close):
    theirs = save_vq(tmp_path)
    model = ldm_ae.load(tmp_path)
    assert isinstance(model, ldm_ae.DiscreteAutoencoder)
    latents = theirs.encode(images).latents
    close(model.encode(images), latents)
    close(model.decode(latents), theirs.decode(latents).sample)
    indices = theirs.quantize(latents)[2][2].view(2, 16, 24)
    assert torch.equal(model.quantize.indices(latents), indices)
    close(model.decode_indices(indices), theirs.decode(latents).sample)


def test_loaded_vq_model_trains(tmp_path, images):
    save_vq(tmp_path)
    model = ldm_ae.load(tmp_path).train()
    before = model.quantize.embedding.weight.clone()
    output = model(images)
    (output.images.square().mean() + output.penalties["commitment"]).backward()
    assert model.encoder.conv_in.weight.grad.abs().max() > 0
    used = output.indices.unique()
    moved = (model.quantize.embedding.weight != before).any(dim=1)
    assert moved[used].all()


@pytest.mark.parametrize("size", [(17, 23), (1, 1), (32, 5)])
def test_odd_sizes_come_back(size, tmp_path, images, save_kl):
    save_kl(tmp_path, block_out_channels=[8, 8, 16], down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3)  # fmt: skip
    model = ldm_ae.load(tmp_path)
    cut = images[..., : size[0], : size[1]]
    with torch.no_grad():
        assert model.reconstruct(cut).shape == cut.shape
    with pytest.raises(ValueError, match="not divisible"):
        model.encode(cut)


@pytest.mark.parametrize("convolutional", [False, True])
def test_old_attention_names(convolutional, tmp_path, images, save_kl, check_kl):
    theirs = save_kl(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    old = {}
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name, value in state.items():
        for new, previous in names.items():
            if f".{new}." in name:
                name = name.replace(f".{new}.", f".{previous}.")
                if convolutional and value.ndim == 2:
                    value = value[:, :, None, None].contiguous()
        old[name] = value
    assert len(set(old) - set(state)) == 8 * 5  # five attention blocks
    save_file(old, tmp_path / WEIGHTS)
    check_kl(ldm_ae.load(tmp_path), theirs, images)


def test_spatial_norm_is_not_supported(tmp_path):
    save_vq(tmp_path / "movq")
    (tmp_path / "model_index.json").write_text("{}")
    path = tmp_path / "movq" / "config.json"
    path.write_text(path.read_text().replace('"group"', '"spatial"'))
    with pytest.raises(ValueError, match="norm_type=spatial"):
        ldm_ae.load(tmp_path)


def test_every_misfit_is_in_one_message(tmp_path, save_kl):
    save_kl(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    del state["encoder.conv_in.bias"]
    state["stranger"] = torch.zeros(1)
    state["decoder.conv_out.bias"] = torch.zeros(7)
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(ValueError) as caught:
        ldm_ae.load(tmp_path)
    message = str(caught.value)
    assert "1 missing: encoder.conv_in.bias" in message
    assert "1 unexpected: stranger" in message
    assert "decoder.conv_out.bias (7,) instead of (3,)" in message


def test_sizes_are_checked_before_memory_is_taken(tmp_path, save_kl):
    """A config that asks for terabytes fails on the header of its small file."""
    save_kl(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content |= {"block_out_channels": [65536, 65536]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="misshapen"):
        ldm_ae.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"\xff\xfe", "not valid JSON"),
        ("config.json", b"[]", "no mapping"),
        (WEIGHTS, b"\x10\x00\x00", "broken safetensors"),
    ],
)
def test_broken_files(file, content, message, tmp_path, save_kl):
    save_kl(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ldm_ae.load(tmp_path)


def test_truncated_weights(tmp_path, save_kl):
    save_kl(tmp_path)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="broken safetensors"):
        ldm_ae.load(tmp_path)


def test_import_is_light():
    code = "import sys, ldm_ae; print({'diffusers', 'accelerate', 'datasets'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
