from pathlib import Path

import pytest
import torch

from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.loop import train
from ldm_ae.train.setup import build_perceptual_metric, starting_point


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


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    assert starting_point(tmp_path, None) is starting_point(tmp_path, "auto") is None
    with pytest.raises(ValueError, match="resume=latest: no checkpoint"):
        starting_point(tmp_path, "latest")
    checkpoint = tmp_path / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    with pytest.raises(ValueError, match="step-00000004: go on from them with --resume latest"):
        starting_point(tmp_path, None)
    (checkpoint / "state.json").touch()
    assert starting_point(tmp_path, "latest") == starting_point(tmp_path, "auto") == checkpoint


def test_a_run_is_not_mixed_with_its_later_checkpoints(tmp_path: Path) -> None:
    for step in (2, 4):
        folder = tmp_path / "checkpoints" / f"step-0000000{step}"
        folder.mkdir(parents=True)
        (folder / "state.json").touch()
    with pytest.raises(ValueError, match="newer checkpoints .step-00000004."):
        starting_point(tmp_path, "step-00000002")
    assert starting_point(tmp_path, "step-00000004") is not None


def test_a_folder_that_machines_do_not_share_is_refused(
    make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ldm_ae.train.setup.gather_from_ranks", lambda step: [4, step])
    with pytest.raises(ValueError, match=r"train\.run_dir=.*steps \[4, 0\]\. .* share"):
        train(make_experiment())


def test_crops_too_small_for_the_perceptual_network_are_refused(make_experiment) -> None:
    experiment = make_experiment("loss.perceptual.net=embedded")
    with pytest.raises(ValueError, match="data.size=16 is too small for embedded"):
        build_perceptual_metric(experiment, torch.device("cpu"))


def test_perceptual_weight_without_a_network_is_refused(make_experiment) -> None:
    experiment = make_experiment("loss.perceptual_weight=1")
    with pytest.raises(ValueError, match="perceptual_weight=1.0 with loss.perceptual.net=none"):
        build_perceptual_metric(experiment, torch.device("cpu"))
