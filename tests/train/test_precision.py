import math
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from ldm_ae import config, distributed
from ldm_ae.models.build import build_model
from ldm_ae.train import precision
from ldm_ae.train.loop import train
from ldm_ae.train.precision import bf16_ratio, settle_precision


@pytest.fixture
def measured(replaced_measurement):
    """measured(0.5): what the measurement finds; measured(None): it must not be made."""
    return lambda ratio: replaced_measurement(precision, "bf16_ratio", ratio)


@pytest.mark.parametrize(("ratio", "faster"), [(0.5, "bf16"), (1.5, "fp32")])
def test_auto_takes_what_is_faster(ratio: float, faster: str, measured, make_experiment) -> None:
    measured(ratio)
    settled, note = settle_precision(make_experiment("train.precision=auto"), None)
    assert settled.train.precision == faster
    assert note.startswith(f"precision {faster}: bf16 takes {ratio:.2f} times as long as fp32")


def test_bf16_is_obeyed_with_a_warning_where_it_is_slower(measured, make_experiment) -> None:
    experiment = make_experiment("train.precision=bf16")
    measured(7.25)
    settled, note = settle_precision(experiment, None)
    assert settled == experiment
    assert note.startswith("warning: bf16 takes 7.25 times as long as fp32")
    measured(0.5)
    assert settle_precision(experiment, None) == (experiment, "")


def test_fp32_needs_no_measurement(measured, make_experiment) -> None:
    measured(None)
    experiment = make_experiment("train.precision=fp32")
    assert settle_precision(experiment, None) == (experiment, "")


def test_every_rank_takes_what_the_first_found(
    measured, make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(None)
    monkeypatch.setattr(distributed, "world", lambda: (1, 2))
    monkeypatch.setattr(distributed, "gather_from_ranks", lambda own: [("bf16", "note"), own])
    settled, note = settle_precision(make_experiment("train.precision=auto"), None)
    assert (settled.train.precision, note) == ("bf16", "note")


def test_a_resumed_run_keeps_what_it_began_with(
    measured, make_experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it goes on: the measurement would find otherwise there."""
    run = tmp_path / "run"
    measured(0.5)
    train(make_experiment("train.precision=auto"))
    assert "precision bf16: bf16 takes 0.50 times as long" in capsys.readouterr().out
    assert config.read_yaml(run / "config.yaml")["train"]["precision"] == "bf16"
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    measured(None)
    train(make_experiment("train.precision=auto"), "latest")
    assert "precision bf16, as the run began" in capsys.readouterr().out
    assert config.read_yaml(run / "config.yaml")["train"]["precision"] == "bf16"
    settled, _ = settle_precision(make_experiment("train.precision=fp32"), run / "checkpoints/x")
    assert settled.train.precision == "fp32"


def test_the_measurement_is_short_and_leaves_no_trace(make_experiment) -> None:
    threads, started = torch.get_num_threads(), time.process_time()
    ratio = bf16_ratio(make_experiment())
    assert math.isfinite(ratio) and ratio > 0
    assert torch.get_num_threads() == threads
    assert time.process_time() - started < 10


def test_all_convolutions_of_both_networks_count(make_experiment) -> None:
    experiment = make_experiment("model.coder.channels=[8, 16]")
    model = build_model(experiment.model)
    networks = (model.encoder, model.decoder)
    expected = [m for n in networks for m in n.modules() if isinstance(m, nn.Conv2d)]
    found = precision._convolutions(experiment)
    assert sum(found.values()) == len(expected)
    first = precision._Convolution(
        (3, 8, (3, 3), (1, 1), (1, 1)), (2, 3, 16, 16), 6 * (2 * 8 * 16 * 16) * (3 * 3 * 3)
    )
    assert found[first] == 1


def test_a_large_convolution_is_timed_in_part() -> None:
    whole = precision._Convolution((4, 4, 3, 1, 1), (2, 4, 64, 64), 6 * 2 * 64 * 64 * 4 * 36)
    assert whole._share([1, 4, 16, 64]) == 0.125
    seconds = whole.time(whole.operations / 8, repetitions=1)
    assert all(value > 0 for value in seconds)


def test_a_disturbance_at_the_first_look_decides_nothing(
    make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {False: iter([9.0] + 99 * [1.0]), True: iter([9.0, 9.0, 9.0] + 99 * [0.5])}
    monkeypatch.setattr(precision, "_seconds", lambda layer, images, bf16: next(taken[bf16]))
    assert bf16_ratio(make_experiment("model.coder.channels=[8]")) == 0.5
