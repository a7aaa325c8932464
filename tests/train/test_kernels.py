import shutil
from pathlib import Path

import pytest
import torch

from ldm_ae import config, distributed
from ldm_ae.errors import UserError
from ldm_ae.train import kernels
from ldm_ae.train.kernels import fast_ratio, settle_kernels
from ldm_ae.train.loop import train
from ldm_ae.train.steps import train_step


@pytest.fixture
def measured(replaced_measurement):
    """measured(0.5): what the measurement finds; measured(None): it must not be made."""
    return lambda ratio: replaced_measurement(kernels, "fast_ratio", ratio)


@pytest.mark.parametrize(("ratio", "faster"), [(0.5, "fast"), (1.5, "plain")])
def test_auto_takes_what_is_faster(ratio: float, faster: str, measured, make_experiment) -> None:
    measured(ratio)
    settled, note = settle_kernels(make_experiment("train.kernels=auto"), None)
    assert settled.train.kernels == faster
    assert note.startswith(f"{faster} kernels: fast ones take {ratio:.2f} times as long")


@pytest.mark.parametrize("asked", ["plain", "fast"])
def test_what_is_asked_for_needs_no_measurement(asked: str, measured, make_experiment) -> None:
    measured(None)
    experiment = make_experiment(f"train.kernels={asked}")
    assert settle_kernels(experiment, None) == (experiment, "")


def test_every_rank_takes_what_the_first_found(
    measured, make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(None)
    monkeypatch.setattr(distributed, "world", lambda: (1, 2))
    monkeypatch.setattr(distributed, "gather_from_ranks", lambda own: [("fast", "note"), own])
    settled, note = settle_kernels(make_experiment("train.kernels=auto"), None)
    assert (settled.train.kernels, note) == ("fast", "note")


def test_a_gpu_has_plain_kernels_unless_asked(
    measured, make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(None)
    monkeypatch.setattr(kernels, "uses_cpu", lambda train: False)
    settled, _ = settle_kernels(make_experiment("train.kernels=auto"), None)
    assert settled.train.kernels == "plain"
    monkeypatch.setattr(kernels, "has_triton", lambda: False)
    with pytest.raises(UserError, match=r"train\.kernels=fast needs Triton on a GPU"):
        settle_kernels(make_experiment("train.kernels=fast"), None)


def test_a_resumed_run_keeps_what_it_began_with(
    measured, make_experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    measured(0.5)
    train(make_experiment("train.kernels=auto"))
    assert "fast kernels: fast ones take 0.50 times as long" in capsys.readouterr().out
    assert config.read_yaml(run / "config.yaml")["train"]["kernels"] == "fast"
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    measured(None)
    train(make_experiment("train.kernels=auto"), "latest")
    assert "fast kernels, as the run began" in capsys.readouterr().out


def test_a_run_from_before_there_were_kernels_goes_on_with_plain_ones(
    measured, make_experiment, tmp_path: Path
) -> None:
    measured(None)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("train: {precision: bf16}\n")
    settled, note = settle_kernels(make_experiment("train.kernels=auto"), checkpoint)
    assert settled.train.kernels == "plain"
    assert note == "plain kernels, as the run began"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fast_kernels_learn_what_plain_ones_do(
    precision: str, make_state, make_batch, flat
) -> None:
    """Ten steps end near each other, in fp32 by rounding, in bf16 by what bf16 leaves open."""
    ends, losses = [], []
    for kind in ("plain", "fast"):
        settings = (f"train.kernels={kind}", f"train.precision={precision}", "train.steps=10")
        state = make_state("train.optimizer=muon", *settings)
        for step in range(10):
            terms = train_step(state, [make_batch(4)], step)
        ends.append(flat(state.autoencoder))
        losses.append(terms["loss"])
        last = state.autoencoder.encoder.memory_format == torch.channels_last
        assert last == (kind == "fast")
        (muon, _) = state.generator.optimizer.param_groups
        assert muon["in_bf16"] == (kind == "fast" and precision == "bf16")
    distance = float((ends[0] - ends[1]).norm() / ends[0].norm())
    assert distance < (1e-3 if precision == "fp32" else 0.2)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if precision == "fp32" else 0.1)


def test_the_measurement_leaves_no_trace(make_experiment) -> None:
    threads, before = torch.get_num_threads(), torch.random.get_rng_state()
    assert fast_ratio(make_experiment()) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), before)
