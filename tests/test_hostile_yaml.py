"""YAML that was written by mistake, or on purpose: one message."""

from pathlib import Path

import pytest

from ldm_ae import config
from ldm_ae.errors import UserError
from ldm_ae.train.config import Experiment

MODEL = "model: {kind: kl}\n"


def message(folder: Path, text: str | bytes, *overrides: str) -> str:
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        config.load(Experiment, path, list(overrides))
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (MODEL + "train: {lr: 1, lr: 2}", "the key lr comes twice"),
        (MODEL + MODEL, "the key model comes twice"),
        (MODEL + "data: " + "[" * 5000, "nested too deeply"),
        (MODEL + "data: " + "{a: " * 5000, "nested too deeply"),
        (MODEL + "train: {steps: !!int abc}", "not valid YAML"),
        (MODEL + "train: {steps: !!timestamp abc}", "not valid YAML"),
        (MODEL + "train: !!python/object/apply:os.system [id]", "not valid YAML"),
        (MODEL + "train: !!omap 3", "not valid YAML"),
        (MODEL + "? [a, b]\n: 1", "a key that is no word"),
        ("a: &x [1, 2]\nb: [*x, *x]", "an alias"),
        ("a: &x [*x]", "an alias"),
        (b"a: \xff\xfe\x00", "not valid YAML"),
        (b"\x00", "not valid YAML"),
        ("[1, 2]", "expected a mapping"),
        ("x: " + "a" * (1 << 20), "no config"),
    ],
)
def test_what_is_no_config(text: str | bytes, reason: str, tmp_path: Path) -> None:
    assert reason in message(tmp_path, text)


@pytest.mark.parametrize("value", ["[" * 3000, "!!int abc", "{a: 1, a: 2}", "{a: &x 1, b: *x}"])
def test_what_is_no_override(value: str, tmp_path: Path) -> None:
    assert "override 'train.lr=" in message(tmp_path, MODEL, f"train.lr={value}")


@pytest.mark.parametrize(
    "override",
    ["train.lr=1e308", "train.lr=1e400", "train.seed=1" + "0" * 30, "loss.kl_weight=-1e300",
     "model.coder.channels=[1099511627776]", "model.latent_channels=1099511627776",
     "model.coder.num_res_blocks=1099511627776", "data.num_workers=1099511627776",
     "train.batch_size=1099511627776", "data.size=1099511627776",
     "loss.adversarial.base_channels=1099511627776", "loss.adversarial.num_layers=1099511627776",
     "model.coder.channels=[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8]"],
)  # fmt: skip
def test_numbers_beyond_any_sense_name_their_key(override: str, tmp_path: Path) -> None:
    key = override.partition("=")[0].removeprefix("model.")
    assert key in message(tmp_path, MODEL, "data.path=x", "model.coder.norm_groups=1", override)


@pytest.mark.parametrize("kind", ["vq", "gumbel"])
def test_codebooks_beyond_any_sense(kind: str, tmp_path: Path) -> None:
    text = f"model: {{kind: discrete, codebook: {{kind: {kind}, size: 1099511627776}}}}"
    assert "codebook.size=1099511627776" in message(tmp_path, text, "data.path=x")


@pytest.mark.parametrize("typo", ["train.sped=1", "loss.sped=1", "sped=1"])
def test_unknown_keys_are_told_also_without_data(typo: str, tmp_path: Path) -> None:
    told = message(tmp_path, MODEL, typo)
    assert f"{typo.partition('=')[0]}: unknown key" in told
    assert "data.path is not set" in told


def test_names_in_messages_are_escaped(tmp_path: Path) -> None:
    assert "\x1b" not in message(tmp_path, MODEL, "train.steps=\x1b[2J", "data.path=x")
