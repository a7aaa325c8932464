"""LDM's, taming's and sgm's checkpoints <-> ours <-> diffusers', at a quarter of a width."""

import dataclasses
import json

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

import ldm_ae
from ldm_ae.cli.main import main
from ldm_ae.config import load, read_yaml
from ldm_ae.convert import convert as module
from ldm_ae.convert.agreement import compare
from ldm_ae.convert.convert import convert, to_ldm_state
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.convert.ldm_network import LDMNetwork
from ldm_ae.convert.ldm_yaml import to_ldm_yaml
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.kl import KLConfig
from ldm_ae.train.config import Experiment

# As published: kind, widths / 32, z_channels = embed_dim, n_embed, attn_resolutions, attn_type.
ZOO = {
    "kl-f4": ("kl", (1, 2, 4), 3, None, [], "vanilla"),
    "kl-f8": ("kl", (1, 2, 4, 4), 4, None, [], "vanilla"),
    "kl-f16": ("kl", (1, 1, 2, 2, 4), 16, None, [16], "vanilla"),
    "kl-f32": ("kl", (1, 1, 2, 2, 4, 4), 64, None, [16, 8], "vanilla"),
    "vq-f4": ("vq", (1, 2, 4), 3, 8192, [], "vanilla"),
    "vq-f4-noattn": ("vq", (1, 2, 4), 3, 8192, [], "none"),
    "vq-f8": ("vq", (1, 2, 2, 4), 4, 16384, [32], "vanilla"),
    "vq-f8-n256": ("vq", (1, 2, 2, 4), 4, 256, [32], "vanilla"),
    "vq-f16": ("vq", (1, 1, 2, 2, 4), 8, 16384, [16], "vanilla"),
    "sgm": ("kl", (1, 2, 4, 4), 4, None, [], "vanilla"),
    "sgm without quant convs": ("sgm", (1, 2, 4, 4), 16, None, [], "vanilla"),
}


def ldm_weights(name: str) -> dict[str, torch.Tensor]:
    """A checkpoint of these settings, by the names and shapes that LDM's modules give."""
    kind, mult, z, num_codes, attn, attn_type = ZOO[name]
    widths, last = [32 * m for m in mult], len(mult) - 1
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name, cin, cout, kernel=3):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (cout, cin, kernel, kernel), (cout,)

    def norm(name, width):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def resnet(name, cin, cout):
        norm(f"{name}.norm1", cin)
        conv(f"{name}.conv1", cin, cout)
        norm(f"{name}.norm2", cout)
        conv(f"{name}.conv2", cout, cout)
        if cin != cout:
            conv(f"{name}.nin_shortcut", cin, cout, 1)

    def attention(name, width):
        norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{part}", width, width, 1)

    def mid(coder):
        resnet(f"{coder}.mid.block_1", widths[-1], widths[-1])
        if attn_type != "none":
            attention(f"{coder}.mid.attn_1", widths[-1])
        resnet(f"{coder}.mid.block_2", widths[-1], widths[-1])

    conv("encoder.conv_in", 3, widths[0])
    for level, width in enumerate(widths):
        for block in range(2):
            before = widths[max(level - 1, 0)] if block == 0 else width
            resnet(f"encoder.down.{level}.block.{block}", before, width)
            if 256 // 2**level in attn:
                attention(f"encoder.down.{level}.attn.{block}", width)
        if level < last:
            conv(f"encoder.down.{level}.downsample.conv", width, width)
    mid("encoder")
    norm("encoder.norm_out", widths[-1])
    conv("encoder.conv_out", widths[-1], z if kind == "vq" else 2 * z)
    conv("decoder.conv_in", z, widths[-1])
    mid("decoder")
    for level in reversed(range(len(widths))):
        width = widths[level]
        for block in range(3):
            before = widths[min(level + 1, last)] if block == 0 else width
            resnet(f"decoder.up.{level}.block.{block}", before, width)
            if 256 // 2**level in attn:
                attention(f"decoder.up.{level}.attn.{block}", width)
        if level > 0:
            conv(f"decoder.up.{level}.upsample.conv", width, width)
    norm("decoder.norm_out", widths[0])
    conv("decoder.conv_out", widths[0], 3)
    if kind != "sgm":
        moments = z if kind == "vq" else 2 * z
        conv("quant_conv", moments, moments, 1)
        conv("post_quant_conv", z, z, 1)
    if kind == "vq":
        shapes["quantize.embedding.weight"] = (num_codes, z)
    random = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=random)
        if len(shape) == 4:
            value /= (shape[1] * shape[2] * shape[3]) ** 0.5
        elif name.endswith("weight") and len(shape) == 1:
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value *= 0.2
        weights[name] = value
    return weights


def ldm_yaml(name: str) -> str:
    kind, mult, z, num_codes, attn, attn_type = ZOO[name]
    net = {
        "double_z": kind != "vq", "z_channels": z, "resolution": 256, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": list(mult), "num_res_blocks": 2, "attn_resolutions": attn,
        "dropout": 0.0, **({} if attn_type == "vanilla" else {"attn_type": attn_type}),
    }  # fmt: skip
    loss = {"target": "ldm.modules.losses.LPIPSWithDiscriminator", "params": {"disc_start": 1}}
    params = {"embed_dim": z, "ddconfig": net, "lossconfig": loss, "monitor": "val/rec_loss"}
    if num_codes:
        params["n_embed"] = num_codes
    if kind == "sgm":
        encoder = {"target": "sgm.modules.diffusionmodules.model.Encoder", "params": net}
        params = {"encoder_config": encoder, "decoder_config": {"params": "${..encoder_config}"}}
    return json.dumps({"model": {"base_learning_rate": 4.5e-6, "target": "x", "params": params}})


def write_ckpt(folder, name, **beside):
    """As Lightning leaves it: with the losses' networks and what the trainer keeps."""
    folder.mkdir(exist_ok=True)
    training = {
        "loss.logvar": torch.zeros(()),
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1),
        "loss.discriminator.main.1.num_batches_tracked": torch.tensor(3),
    }
    state = {**ldm_weights(name), **training}
    path = folder / "model.ckpt"
    torch.save({"state_dict": state, "global_step": 3, "epoch": 1, **beside}, path)
    (folder / "config.yaml").write_text(ldm_yaml(name))
    return path


def network(weights):
    return LDMNetwork(weights)


def diffusers_class(folder):
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder)


def agree(model, other, images):
    agreement = compare(model, other, [images])
    assert max(agreement.encode, agreement.decode) <= 1e-4
    assert agreement.num_ties <= agreement.num_tokens / 100


def images_for(model):
    side = max(32, 2 * model.downsampling_factor)
    return torch.rand(1, 3, side, side * 3 // 2) * 2 - 1


@pytest.mark.parametrize("name", ZOO)
def test_ldm_to_ours_to_diffusers_and_back(name, tmp_path):
    path = write_ckpt(tmp_path / name.replace(" ", "-"), name)
    folder, back = tmp_path / "folder", tmp_path / "back.ckpt"
    assert [part.split(".")[0] for part in convert(path, folder, scaling_factor=0.5).left_out] == (
        ["loss"] * 3
    )
    convert(folder, back)
    model, weights = ldm_ae.load(path), ldm_weights(name)
    images = images_for(model)
    for other in (network(weights), diffusers_class(folder)):
        agree(model, other, images)
    for place in (folder, back):
        other = ldm_ae.load(place)
        assert other.scaling_factor == 0.5
        same = model.state_dict()
        assert all(torch.equal(value, same[key]) for key, value in other.state_dict().items())
    stored = torch.load(back, weights_only=True)["state_dict"]
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[key], value) for key, value in weights.items())
    ours, theirs = read_yaml(tmp_path / "back.yaml"), json.loads(ldm_yaml(name))
    for claims in (ours, theirs):
        claims["model"] = claims["model"]["params"]
    if ZOO[name][0] != "sgm":
        assert ours["model"]["embed_dim"] == str(theirs["model"]["embed_dim"])
        given = {key: str(value) for key, value in theirs["model"]["ddconfig"].items()}
        for key in ("ch", "z_channels", "num_res_blocks", "in_channels", "out_ch"):
            assert ours["model"]["ddconfig"][key] == given[key]


@pytest.mark.parametrize("name", [name for name in ZOO if not name.startswith("sgm")])
def test_our_zoo_config_is_what_the_weights_say(name, tmp_path):
    """The settings found from shapes alone are those of the config that trains such a model."""
    path = write_ckpt(tmp_path / "x", name)
    found = ldm_ae.load(path).config
    ours = load(Experiment, name.replace("-", "_"), ["data.path=unused"]).model
    narrow = tuple(width // 4 for width in ours.coder.channels)
    assert found.coder == dataclasses.replace(
        ours.coder,
        channels=narrow,
        attention_factors=tuple(sorted(ours.coder.attention_factors)),
        gradient_checkpointing=False,
    )
    assert (found.latent_channels, found.code_dim) == (ours.latent_channels, ours.code_dim)
    if ours.codebook:
        assert found.codebook.num_codes == ours.codebook.num_codes


def test_diffusers_own_converter_reads_what_we_write(tmp_path):
    """An independent reader of LDM's names, for a shape that it is right for."""
    path, file = write_ckpt(tmp_path / "x", "kl-f8"), tmp_path / "vae.safetensors"
    convert(path, tmp_path / "out", scaling_factor=0.5)
    convert(path, file, scaling_factor=0.5)
    theirs = diffusers.AutoencoderKL.from_single_file(str(file), config=str(tmp_path / "out"))
    ours = ldm_ae.load(file)
    agree(ours, theirs, images_for(ours))


def test_missing_unexpected_and_misshapen_keys_are_listed(tmp_path):
    weights = ldm_weights("kl-f16")
    del weights["decoder.up.4.attn.1.proj_out.bias"]
    weights["encoder.down.0.block.2.stranger"] = torch.zeros(1)
    weights["encoder.down.1.block.0.norm1.weight"] = torch.zeros(7)
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(ValueError) as caught:
        ldm_ae.load(tmp_path / "vae.safetensors")
    message = str(caught.value)
    assert "1 missing: decoder.up.4.attn.1.proj_out.bias" in message
    assert "1 unexpected: encoder.down.0.block.2.stranger" in message
    assert "encoder.down.1.block.0.norm1.weight (7,) instead of (32,)" in message


def test_weights_of_another_network_are_no_model(tmp_path):
    save_file({"bn.running_mean": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"has no encoder\.conv_in\.weight.*ldm_ae\.wrap"):
        ldm_ae.load(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"files that end in \.safetensors, \.ckpt"):
        (tmp_path / "a.txt").touch()
        ldm_ae.load(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_resolutions": [32]}, r"attn_resolutions=\['?32'?\], the weights have \[16\]"),
        ({"ch_mult": [1, 2, 4]}, "ch_mult=.1, 2, 4., the weights have .1, 1, 2, 2, 4."),
        ({"attn_type": "none"}, "attn_type=none, the weights have vanilla"),
        ({"z_channels": 4}, "z_channels=4, the weights have 16"),
        ({"resamp_with_conv": False}, "resamp_with_conv=false, only true is supported"),
        ({"tanh_out": True}, "tanh_out=true, only false is supported"),
    ],
)
def test_a_yaml_that_says_otherwise_is_refused(change, message, tmp_path):
    path = write_ckpt(tmp_path / "x", "kl-f16")
    content = json.loads((path.parent / "config.yaml").read_text())
    content["model"]["params"]["ddconfig"] |= change
    (path.parent / "config.yaml").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        ldm_ae.load(path)


def stable_diffusion(encoder="cond_stage_model.transformer.text_model.final_layer_norm.weight"):
    weights = {f"first_stage_model.{key}": value for key, value in ldm_weights("kl-f8").items()}
    weights[encoder] = torch.ones(3)
    weights["model.diffusion_model.out.2.bias"] = torch.ones(3)
    return weights


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_the_first_stage_of_a_whole_stable_diffusion(ending, tmp_path):
    path, weights = tmp_path / f"sd.{ending}", stable_diffusion()
    half = {key: value.half() for key, value in weights.items()}
    if ending == "ckpt":
        torch.save({"state_dict": half}, path)
    else:
        save_file(half, path)
    model = ldm_ae.load(path)
    assert model.scaling_factor == 0.18215
    rounded = {key: value.half().float() for key, value in ldm_weights("kl-f8").items()}
    agree(model, network(rounded), images_for(model))
    convert(path, tmp_path / "vae")
    assert diffusers_class(tmp_path / "vae").config.scaling_factor == 0.18215


@pytest.mark.parametrize(
    ("key", "factor", "shift"),
    [
        ("conditioner.embedders.1.model.ln_final.bias", 0.13025, 0.0),
        ("model.diffusion_model.joint_blocks.0.x", 1.5305, 0.0609),
        ("model.diffusion_model.double_blocks.0.x", 0.3611, 0.1159),
        ("something.else", 1.0, 0.0),
    ],
)
def test_the_scaling_of_a_whole_model_is_told_by_its_other_parts(key, factor, shift, tmp_path):
    save_file(stable_diffusion(key), tmp_path / "a.safetensors")
    model = ldm_ae.load(tmp_path / "a.safetensors")
    assert (model.scaling_factor, model.shift_factor) == (factor, shift)


def test_the_yaml_of_a_whole_diffusion_model(tmp_path):
    """Its first stage is nested, and it says the scaling itself."""
    path = write_ckpt(tmp_path / "x", "kl-f8")
    first = json.loads((path.parent / "config.yaml").read_text())["model"]
    whole = {"model": {"params": {"scale_factor": 0.2, "first_stage_config": first}}}
    path.with_suffix(".yaml").write_text(json.dumps(whole))
    assert ldm_ae.load(path).scaling_factor == 0.2
    first["params"]["ddconfig"]["z_channels"] = 8
    path.with_suffix(".yaml").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="z_channels=8, the weights have 4"):
        ldm_ae.load(path)
    first["params"]["ddconfig"]["z_channels"] = 4
    for factor in ("much", -1, "inf"):
        whole["model"]["params"]["scale_factor"] = factor
        path.with_suffix(".yaml").write_text(json.dumps(whole))
        with pytest.raises(ValueError, match="scale_factor="):
            ldm_ae.load(path)
    path.with_suffix(".yaml").write_text("model: {}")
    with pytest.raises(ValueError, match=r"has no model\.params\.ddconfig"):
        ldm_ae.load(path)


def test_a_scaling_that_nothing_says_is_asked_for(tmp_path, capsys):
    save_file(ldm_weights("kl-f8"), tmp_path / "vae.safetensors")
    assert main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out")]) == 2
    assert "does not say what its latents are multiplied by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["vae.safetensors"]
    arguments = ["--scaling-factor", "1.5", "--shift-factor", "0.25"]
    assert (
        main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out"), *arguments]) == 0
    )
    config = diffusers_class(tmp_path / "out").config
    assert (config.scaling_factor, config.shift_factor) == (1.5, 0.25)
    assert "agree with the source's within" in capsys.readouterr().out
    assert (
        main(["convert", str(tmp_path / "vae.safetensors"), str(tmp_path / "out"), *arguments]) == 2
    )
    assert "is there already" in capsys.readouterr().err


def test_ldms_own_measured_factor_is_kept(tmp_path):
    weights = {f"first_stage_model.{key}": value for key, value in ldm_weights("vq-f4").items()}
    save_file({**weights, "scale_factor": torch.tensor(0.25)}, tmp_path / "ldm.safetensors")
    assert ldm_ae.load(tmp_path / "ldm.safetensors").scaling_factor == 0.25


@pytest.mark.parametrize("names", ["diffusers", "old diffusers"])
def test_a_bare_file_with_diffusers_names(names, tmp_path):
    path = write_ckpt(tmp_path / "x", "kl-f8")
    convert(path, tmp_path / "out", scaling_factor=0.5)
    state = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    if names == "old diffusers":
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):  # fmt: skip
            state = {key.replace(f".{new}.", f".{old}."): value for key, value in state.items()}
    save_file(state, tmp_path / "bare.safetensors")
    model = ldm_ae.load(tmp_path / "bare.safetensors")
    agree(model, network(ldm_weights("kl-f8")), images_for(model))


def test_a_weights_file_beside_its_config_goes_by_it(tmp_path):
    diffusers.AutoencoderKL(
        block_out_channels=[8], norm_num_groups=4, scaling_factor=0.37
    ).save_pretrained(tmp_path)
    model = ldm_ae.load(tmp_path / "diffusion_pytorch_model.safetensors")
    assert (model.scaling_factor, model.config.coder.norm_groups) == (0.37, 4)


def test_a_wrong_result_is_not_written(tmp_path, monkeypatch):
    path = write_ckpt(tmp_path / "x", "kl-f4")

    def spoiled(model):
        state = to_ldm_state(model)
        q, k = (f"encoder.mid.attn_1.{part}.weight" for part in "qk")
        state[q], state[k] = state[k], state[q]
        return state

    monkeypatch.setattr(module, "to_ldm_state", spoiled)
    with pytest.raises(ValueError, match="refused to write: encode of LDM's network, of the file"):
        convert(path, tmp_path / "out.ckpt", scaling_factor=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_misread_source_is_not_written(tmp_path, monkeypatch):
    path = write_ckpt(tmp_path / "x", "kl-f4")
    right = module.LDMNetwork

    def other(weights):
        return right({**weights, "encoder.conv_out.bias": weights["encoder.conv_out.bias"] + 1})

    monkeypatch.setattr(module, "LDMNetwork", other)
    with pytest.raises(ValueError, match="encode of LDM's network, of the file's own weights"):
        convert(path, tmp_path / "out", scaling_factor=1.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("coder", "message"),
    [
        (CoderConfig(channels=(8, 16), norm_groups=4), "LDM's norms have 32 groups"),
        (CoderConfig(channels=(64, 96)), "widths are multiples of the first"),
        (CoderConfig(channels=(32,), attention_factors=(1,), mid_attention=False), "none in the m"),
    ],
)
def test_what_ldm_cannot_hold_is_refused(coder, message):
    with pytest.raises(ValueError, match=message):
        to_ldm_yaml(KLConfig(coder=coder), LatentScaling())


def test_ldm_has_no_scaling_per_channel():
    with pytest.raises(ValueError, match="one factor for all channels"):
        to_ldm_yaml(KLConfig(), LatentScaling(1.0, 0.0, (0.0,) * 4, (1.0,) * 4))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("kl-f4", torch.bfloat16), ("vq-f4", torch.bfloat16), ("kl-f4", torch.float16)],
)
def test_half_precision_weights(name, dtype, tmp_path):
    path = write_ckpt(tmp_path / "x", name)
    whole, half = ldm_ae.load(path), ldm_ae.load(path, dtype=dtype)
    assert half.encoder.conv_in.weight.dtype == half.decoder.conv_out.weight.dtype == dtype
    images = images_for(whole)
    with torch.no_grad():
        latents = whole.encode(images)
        assert half.encode(images).dtype == half.decode(latents).dtype == torch.float32
        assert float((half.encode(images) - latents).abs().mean()) < 0.05
        assert float((half.decode(latents) - whole.decode(latents)).abs().mean()) < 0.05
    with pytest.raises(ValueError, match="with precision=fast"):
        ldm_ae.load(path, dtype=dtype, precision="fast")
    with pytest.raises(ValueError, match=r"dtype=torch\.float64"):
        ldm_ae.load(path, dtype=torch.float64)
