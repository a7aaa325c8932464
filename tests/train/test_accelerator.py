from pathlib import Path

import pytest
import torch

from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.loop import train


def test_fp16_on_a_cpu_is_refused(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment("train.precision=fp16")
    with pytest.raises(ValueError, match="precision=fp16 needs a GPU: .*bf16 or fp32"):
        make_accelerator(experiment.train, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_is_refused(make_experiment, tmp_path: Path) -> None:
    experiment = make_experiment("train.device=cuda")
    with pytest.raises(ValueError, match="train.device=cuda, but torch finds no CUDA"):
        make_accelerator(experiment.train, tmp_path)


def test_many_copies_that_know_nothing_of_each_other_are_refused(
    make_experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator = make_accelerator(make_experiment().train, tmp_path)
    assert accelerator.num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE=2.*torchrun --nproc_per_node 2"):
        make_accelerator(make_experiment().train, tmp_path)


def test_a_sharded_launch_is_refused(
    make_experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CPUs Accelerate would ignore it, on GPUs checkpoints would hold shards."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="ACCELERATE_USE_FSDP=true: FSDP.*--multi_gpu"):
        make_accelerator(make_experiment().train, tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "train.precision=fp32"),
        ("ACCELERATE_MIXED_PRECISION", "no", None),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "train.accumulation=1"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", None),
    ],
)
def test_a_launch_that_says_something_else_is_told_once(
    make_experiment, monkeypatch, capfd, variable: str, value: str, told: str | None
) -> None:
    monkeypatch.setenv(variable, value)
    train(make_experiment("train.steps=2"))
    shown = "".join(capfd.readouterr())
    line = f"{variable}={value} of the launch does not count: {told} does"
    assert shown.count(line) == (told is not None) and shown.count(variable) == (told is not None)
