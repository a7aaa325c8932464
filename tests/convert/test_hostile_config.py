"""A `config.json` from a stranger: a model, or one message."""

import json
from pathlib import Path
from typing import Any

import pytest

import ldm_ae
from ldm_ae.errors import UserError

WHOLE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [32],
    "latent_channels": 4,
}


def message(folder: Path, content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps({**WHOLE, **content})
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError) as caught:
        ldm_ae.load(folder)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("value", ["abc", [], {}, True, -1, 0, None, [[1]]])
def test_no_scaling_but_a_positive_number(value: Any, tmp_path: Path) -> None:
    assert "scaling_factor=" in message(tmp_path, {"scaling_factor": value})


@pytest.mark.parametrize(
    "key", ["latents_mean", "latents_std", "shift_factor", "block_out_channels", "latent_channels"]
)
@pytest.mark.parametrize("value", ["abc", ["a"] * 4, {"a": 1}, [[0.0]] * 4, True, 10**40])
def test_odd_types_are_named(key: str, value: Any, tmp_path: Path) -> None:
    assert key in message(tmp_path, {key: value})


@pytest.mark.parametrize(
    "key",
    ["_class_name", "down_block_types", "up_block_types", "act_fn", "mid_block_add_attention",
     "use_quant_conv", "norm_num_groups", "layers_per_block"],
)  # fmt: skip
@pytest.mark.parametrize("value", [[["a"]], {"a": {}}, "abc"])
def test_what_cannot_be_a_key_is_named(key: str, value: Any, tmp_path: Path) -> None:
    changes = {key: value}
    if key == "use_quant_conv":
        changes["use_post_quant_conv"] = value
    assert key in message(tmp_path, changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"scaling_factor": 1e400}', "not a finite number"),
        ('{"scaling_factor": -Infinity}', "not a finite number"),
        ('{"a":' * 50_000, "nested too deeply"),
        ('"abc"', "no mapping"),
    ],
)
def test_what_json_lets_through_is_named(text: str, reason: str, tmp_path: Path) -> None:
    assert reason in message(tmp_path, text)


def test_long_and_odd_values_stay_one_short_line(tmp_path: Path) -> None:
    text = message(tmp_path, {"act_fn": "\x1b[2J\n" + "x" * 100_000})
    assert text.isprintable()


@pytest.mark.parametrize("device", ["abc", "meta", "cuda:99", "xpu", ""])
def test_devices_that_are_not_there(device: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"device={device}: torch cannot compute there"):
        ldm_ae.load(tmp_path, device=device)


def test_per_channel_statistics_come_with_the_model(tmp_path: Path) -> None:
    import diffusers

    diffusers.AutoencoderKL(
        block_out_channels=[8], norm_num_groups=4, latents_mean=[0, 1, 2, 3.5], latents_std=[1] * 4
    ).save_pretrained(tmp_path)
    model = ldm_ae.load(tmp_path)
    assert model.latents_mean == (0.0, 1.0, 2.0, 3.5) and model.latents_std == (1.0,) * 4
