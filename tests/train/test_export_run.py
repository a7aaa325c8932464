import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import ldm_ae
from ldm_ae.cli.main import main
from ldm_ae.config import dump, load
from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import open_data
from ldm_ae.export.statistics import measure_latents
from ldm_ae.losses.objective import LossConfig
from ldm_ae.losses.perceptual import PerceptualConfig
from ldm_ae.metrics.table import METRICS, ON_PAIRS
from ldm_ae.models.kl import KLConfig
from ldm_ae.train.config import Experiment, TrainConfig
from ldm_ae.train.export_run import export_run, training_crops


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(9):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def run(tmp_path, photos, make_model, tiny_coder):
    """A run's folder with two checkpoints; the last has EMA weights that differ."""
    model_config = KLConfig(coder=tiny_coder)
    experiment = Experiment(
        model=model_config,
        data=DataConfig(path=str(photos), size=32, num_workers=0, validation_count=2),
        loss=LossConfig(perceptual=PerceptualConfig(net="none"), perceptual_weight=0.0),
        train=TrainConfig(batch_size=4, device="cpu"),
    )
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(experiment))
    state = make_model(model_config).state_dict()
    for step, shift in ((10, 0.0), (20, 0.5)):
        checkpoint = folder / "checkpoints" / f"step-{step:08d}"
        checkpoint.mkdir(parents=True)
        for name, bias in (("ema", shift), ("model", shift + 1)):
            changed = {**state, "decoder.conv_out.bias": torch.full((3,), bias)}
            save_file(changed, checkpoint / f"{name}.safetensors")
        progress = {"step": step, "images_seen": step * 4}
        (checkpoint / "state.json").write_text(json.dumps(progress))
    return folder


def bias_of(folder):
    return ldm_ae.load(folder).decoder.conv_out.bias[0].item()


def test_exports_the_checkpoint_and_weights_asked_for(run, tmp_path):
    assert bias_of(export_run(run, tmp_path / "a", max_images=4)) == 0.5
    other = export_run(run, tmp_path / "b", checkpoint="step-00000010", weights="model",
                       max_images=4)  # fmt: skip
    assert bias_of(other) == 1.0
    card = (other / "README.md").read_text()
    assert "| checkpoint | step-00000010 |" in card
    assert "| weights | last |" in card
    assert "| PSNR, dB |" in card
    for name in ON_PAIRS:
        assert f"| {METRICS[name].label} |" in card
    assert "| MS-SSIM | not measured: MS-SSIM takes 161 pixels" in card
    assert str(tmp_path) not in card
    saved = load(Experiment, other / "training_config.yaml")
    assert saved == load(Experiment, run / "config.yaml")


def test_statistics_are_over_the_training_crops(run, tmp_path):
    folder = export_run(run, tmp_path / "out", max_images=30)
    written = json.loads((folder / "latent_statistics.json").read_text())
    experiment = load(Experiment, run / "config.yaml")
    data = open_data(experiment.data)
    expected = measure_latents(ldm_ae.load(folder), training_crops(experiment, data, 30))
    assert (written["num_images"], written["num_different"]) == (30, 7)
    assert written["scaling_factor"] == pytest.approx(expected.scaling_factor, rel=1e-6)
    first_batch = measure_latents(ldm_ae.load(folder), training_crops(experiment, data, 4))
    assert written["scaling_factor"] != pytest.approx(first_batch.scaling_factor, rel=1e-4)


def test_small_sets_are_measured_by_more_crops_of_each_image(run):
    experiment = load(Experiment, run / "config.yaml")
    data = open_data(experiment.data)
    batches = list(training_crops(experiment, data))
    assert sum(len(batch) for batch in batches) == 40  # as the fixture for all tests here has it
    assert [len(batch) for batch in training_crops(experiment, data, 6)] == [4, 2]


def test_images_may_have_moved(run, photos, tmp_path):
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"data\.path=.*photos"):
        export_run(run, tmp_path / "out")
    export_run(run, tmp_path / "out", overrides=[f"data.path={moved}"], max_images=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "step-00000099"}, "step-00000010, step-00000020"),
        ({"overrides": ["model.latent_channels=8"]}, "can only override data"),
        ({"max_images": 0}, "max_images=0"),
    ],
)
def test_what_is_wrong_is_named(options, message, run, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_run(run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_broken_checkpoint(run, tmp_path):
    path = run / "checkpoints" / "step-00000020" / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"ema\.safetensors"):
        export_run(run, tmp_path / "out")
    path.unlink()
    with pytest.raises(ValueError, match="not complete"):
        export_run(run, tmp_path / "out")


def test_the_command(run, tmp_path, capsys):
    command = ["export", str(run), str(tmp_path / "out"), "--max-images", "4"]
    assert main(command) == 0
    assert f'ldm_ae.load("{tmp_path / "out"}")' in capsys.readouterr().out
    assert main(command) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "already holds an export" in message
