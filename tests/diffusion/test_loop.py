"""Whole trainings: what they leave, that they resume to the bit, and what they refuse."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ldm_ae.diffusion.loop as loop
from ldm_ae.cli.info import of_run
from ldm_ae.diffusion.loop import train_diffusion
from ldm_ae.errors import UserError
from ldm_ae.store.settings import Storage
from ldm_ae.train.stopping import TrainingStopped

# diffusers' solver turns tensors into arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    diffusers.utils.logging.set_verbosity_error()


def test_a_run_leaves_a_pipeline_that_samples_by_itself(
    make_store, make_config, read_config, tmp_path: Path
) -> None:
    experiment = make_config(make_store())
    folder = train_diffusion(experiment)
    run = tmp_path / "run"
    assert folder == run / "pipeline"
    assert read_config(run / "config.yaml").train.precision == "fp32"
    assert [p.name[-1] for p in sorted((run / "checkpoints").iterdir())] == ["2", "4"]
    with Image.open(run / "previews" / "step-00000004.png") as grid:
        assert grid.size == (32, 16)  # a column for each of two classes
    assert list((run / "tensorboard").rglob("events*"))

    pipeline = diffusers.DiTPipeline.from_pretrained(folder)
    assert pipeline.labels == {"cat": 0, "dog": 1}
    averaged = load_file(run / "checkpoints" / "step-00000004" / "ema.safetensors")
    last = "proj_out_2.weight"
    assert torch.equal(pipeline.transformer.state_dict()[last], averaged[last])
    trained = load_file(run / "checkpoints" / "step-00000004" / "model.safetensors")
    assert 0 < averaged[last].norm() < trained[last].norm()  # which begins at 0
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(pipeline.get_label_ids(["dog", "cat"]), num_inference_steps=3).images
    assert [image.size for image in images] == [(16, 16)] * 2
    assert np.asarray(images[0]).std() > 0
    said = of_run(run)
    assert (said["kind"], said["steps"], said["pipeline"]) == ("denoiser", "4 of 4", folder)


def ends(run: Path) -> dict[str, torch.Tensor]:
    last = run / "checkpoints" / "step-00000004"
    found = {
        f"{name} {key}": value
        for name in ("model", "ema")
        for key, value in load_file(last / f"{name}.safetensors").items()
    }
    optimizer = torch.load(last / "training.pt", weights_only=True)["optimizer"]
    for number, state in optimizer["state"].items():
        found |= {f"optimizer {number} {key}": value for key, value in state.items()}
    return found


def test_a_run_that_was_killed_ends_with_the_same_bits(
    make_store, make_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    train_diffusion(make_config(store, run="whole"))
    step = loop.train_step

    def killed(state, batches, at):
        if at == 3:
            raise KeyboardInterrupt  # as abrupt as a kill: nothing is saved after it
        return step(state, batches, at)

    monkeypatch.setattr(loop, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(make_config(store, run="cut"))
    assert not (tmp_path / "cut" / "pipeline").exists()
    monkeypatch.undo()
    train_diffusion(make_config(store, run="cut"), resume="auto")
    whole, resumed = ends(tmp_path / "whole"), ends(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    grids = [tmp_path / run / "previews" / "step-00000004.png" for run in ("whole", "cut")]
    assert grids[0].read_bytes() == grids[1].read_bytes()


def require_the_same_end(runs: Path, first: str, second: str) -> None:
    whole, parts = (
        load_file(runs / run / "checkpoints" / "step-00000004" / "model.safetensors")
        for run in (first, second)
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


def test_accumulation_equals_a_larger_batch(make_store, make_config, tmp_path: Path) -> None:
    store = make_store(storage=Storage("moments", "float32"))
    train_diffusion(make_config(store, "train.batch_size=4", run="whole"))
    train_diffusion(make_config(store, "train.accumulation=2", run="parts"))
    require_the_same_end(tmp_path, "whole", "parts")


@pytest.mark.slow
def test_two_ranks_equal_one_process_with_the_double_batch(
    make_store, make_config, model: Path, tmp_path: Path
) -> None:
    store = make_store(storage=Storage("moments", "float32"))
    train_diffusion(make_config(store, "train.batch_size=4", run="one"))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    said = ["-m", "ldm_ae", "train-diffusion", str(store), "--model", str(model)]
    said += ["--out", str(tmp_path / "two"), "--config", str(tmp_path / "one" / "config.yaml")]
    two = subprocess.run(
        [sys.executable, *launch, *said, "train.batch_size=2"],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert two.returncode == 0, two.stderr[-3000:]
    assert two.stdout.count("Sample: ") == 1
    require_the_same_end(tmp_path, "one", "two")


def test_a_signal_saves_and_the_run_goes_on(
    make_store, make_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, store = loop.train_step, make_store()

    def interrupted(state, batches, at):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(state, batches, at)

    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(TrainingStopped, match="SIGTERM after step 1"):
        train_diffusion(make_config(store))
    monkeypatch.undo()
    with pytest.raises(UserError, match="holds checkpoints up to step-00000001"):
        train_diffusion(make_config(store))
    assert train_diffusion(make_config(store), resume="latest").is_dir()


def test_a_run_goes_on_with_its_own_store_alone(
    make_store, make_config, pictures, model, tmp_path: Path
) -> None:
    train_diffusion(make_config(make_store(), "train.steps=2"))
    with pytest.raises(UserError, match=r"with labels \['cat', 'dog'\], and now it is \['a', 'b"):
        train_diffusion(make_config(make_store(), "labels=[a, b]"), resume="latest")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.25}))
    with pytest.raises(UserError, match=r"with scaling_factor 0\.5, and now it is 0\.25"):
        train_diffusion(make_config(tmp_path / "store"), resume="latest")
    (model / "config.json").write_text(json.dumps(config))
    (pictures / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match="the run saw 8 images"):
        train_diffusion(make_config(make_store()), resume="latest")


def test_mistakes_leave_no_run(make_store, make_config, tmp_path: Path) -> None:
    store = make_store()
    for overrides, message in {
        ("denoiser.patch_size=3",): "patch_size=3 does not divide",
        ("labels=[one]",): "labels names 1 classes",
        ("train.precision=fp16",): "train.precision=fp16 needs a GPU",
    }.items():
        with pytest.raises(UserError, match=message):
            train_diffusion(make_config(store, *overrides))
        assert not (tmp_path / "run" / "config.yaml").exists()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="nothing holds no latents"):
        train_diffusion(make_config(tmp_path / "nothing"))
