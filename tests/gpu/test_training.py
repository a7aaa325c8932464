import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

import ldm_ae

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_with_a_discriminator_and_exports(precision: str, train) -> None:
    game = "loss.adversarial={weight: 0.1, start_step: 2, discriminator_warmup_steps: 1}"
    run = train("run", "train.steps=6", f"train.precision={precision}", game)
    state = json.loads((run / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["step"] == 6
    assert ldm_ae.load(run / "export").scaling_factor > 0


def test_a_resumed_run_ends_near_the_undisturbed_one(train) -> None:
    """Not bit for bit: sums on a GPU come in any order."""
    whole = train("whole", "train.steps=6", "train.precision=fp32")
    train("parts", "train.steps=3", "train.precision=fp32")
    parts = train("parts", "train.steps=6", "train.precision=fp32")
    first, second = (weights(run) for run in (whole, parts))
    for name, value in first.items():
        assert (value - second[name]).abs().max() <= 1e-3 * value.abs().max().clamp_min(1e-3), name


def weights(run: Path) -> dict:
    return load_file(run / "checkpoints" / "step-00000006" / "model.safetensors")
