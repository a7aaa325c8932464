import shutil
from pathlib import Path

import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.errors import UserError
from ldm_ae.files import write_through
from ldm_ae.train.checkpoint import (
    Progress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from ldm_ae.train.checkpoint_folders import checkpoints_of, find_checkpoint, read_score
from ldm_ae.train.loop import train
from ldm_ae.train.steps import train_step

GAN = "loss.adversarial={weight: 0.5, start_step: 1, num_layers: 2, base_channels: 8}"


def test_everything_comes_back(make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    batch = Batch(images, torch.arange(2), ["", ""], [])
    train_step(state, [batch], 1)
    with torch.no_grad():
        state.generator.module.log_variance.fill_(0.7)
    state.guard.num_skipped, state.guard.num_in_a_row = 5, 2
    folder = save_checkpoint(tmp_path, state, Progress(3, 24), keep=2)
    other = make_state(GAN, "train.seed=1")
    assert load_checkpoint(folder, other) == Progress(3, 24)
    assert (other.guard.num_skipped, other.guard.num_in_a_row) == (5, 2)
    assert other.discriminator.module.num_updates == state.discriminator.module.num_updates == 1
    for ours, theirs in (
        (state.generator.module, other.generator.module),
        (state.average.model, other.average.model),
        (state.discriminator.module, other.discriminator.module),
    ):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    for ours, theirs in (
        (state.generator.optimizer, other.generator.optimizer),
        (state.discriminator.optimizer, other.discriminator.optimizer),
    ):
        saved, restored = ours.state_dict()["state"], theirs.state_dict()["state"]
        assert len(saved) >= 10
        for key, moments in saved.items():
            assert all(torch.equal(moments[name], restored[key][name]) for name in moments)


def test_settings_are_the_configs_not_the_checkpoints(make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    for group in state.generator.optimizer.param_groups:
        group["weight_decay"] = 0.9
    folder = save_checkpoint(tmp_path, state, Progress(3, 24), keep=2)
    other = make_state(GAN, "train.seed=1")
    load_checkpoint(folder, other)
    assert other.generator.optimizer.param_groups[0]["weight_decay"] == 0.0


def test_a_damaged_file_is_named(make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    folder = save_checkpoint(tmp_path, state, Progress(3, 24), keep=2)
    (folder / "ema.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match="step-00000003 is damaged"):
        load_checkpoint(folder, state)
    (folder / "state.json").write_text('{"step": 3')
    with pytest.raises(ValueError, match="step-00000003 is damaged"):
        read_progress(folder)


def test_only_the_newest_are_kept_and_found(make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, state, Progress(step, step), keep=2)
    assert [path.name for path in checkpoints_of(tmp_path)] == ["step-00000002", "step-00000003"]
    assert read_progress(find_checkpoint(tmp_path, "latest")).step == 3
    assert read_progress(find_checkpoint(tmp_path, "step-00000002")).step == 2
    with pytest.raises(ValueError, match="resume=step-9: no such checkpoint; .* step-00000002"):
        find_checkpoint(tmp_path, "step-9")


def test_a_failed_write_leaves_the_last_checkpoint_and_nothing_else(
    make_state, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_state(GAN)
    save_checkpoint(tmp_path, state, Progress(1, 1), keep=1)

    def full(path: Path, content: bytes) -> None:
        if path.name == "training.pt":
            path.write_bytes(content[:10])
            raise OSError(28, "No space left on device")
        write_through(path, content)

    monkeypatch.setattr("ldm_ae.train.checkpoint.write_through", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, state, Progress(2, 2), keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert read_progress(find_checkpoint(tmp_path, "latest")).step == 1


def test_scores_stay_with_their_checkpoint(make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    for step, psnr in ((1, 30.0), (2, 20.0), (3, 10.0)):
        save_checkpoint(
            tmp_path,
            state,
            Progress(step, step),
            keep=1,
            scores={"psnr": psnr},
            best_metric="psnr",
        )
    assert [path.name for path in checkpoints_of(tmp_path)] == ["step-00000001", "step-00000003"]
    assert read_score(find_checkpoint(tmp_path, "best", "psnr"), "psnr") == 30.0


def test_every_file_is_written_through(
    make_state, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_state(GAN)
    written = []

    def note(path: Path, content: bytes) -> None:
        written.append(path.name)
        write_through(path, content)

    monkeypatch.setattr("ldm_ae.train.checkpoint.write_through", note)
    folder = save_checkpoint(tmp_path, state, Progress(1, 1), keep=1, scores={})
    assert sorted(written) == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "content",
    ["[]", "3", '{"step": "abc"}', '{"step": -1}', '{"step": [1]}', '{"sped": 1}',
     '{"step": 1e400}', '{"step": ' * 9000],
)  # fmt: skip
def test_an_odd_state_is_one_message(content: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(UserError, match="is damaged: go on from another one"):
        read_progress(tmp_path)


@pytest.mark.parametrize("content", [[1], {}, {"optimizer": 3}, "text"])
def test_an_odd_training_state_is_one_message(content: object, make_state, tmp_path: Path) -> None:
    state = make_state(GAN)
    folder = save_checkpoint(tmp_path, state, Progress(3, 24), keep=2)
    torch.save(content, folder / "training.pt")
    with pytest.raises(UserError, match="step-00000003 does not fit this config"):
        load_checkpoint(folder, state)


@pytest.mark.parametrize("name", ["model", "ema", "training"])
def test_a_checkpoint_that_is_not_finite_names_the_tensor(
    name: str, make_state, tmp_path: Path
) -> None:
    state = make_state(GAN)
    with torch.no_grad():
        if name == "training":
            state.generator.module.log_variance.fill_(float("nan"))
        else:
            network = state.autoencoder if name == "model" else state.average.model
            network.decoder.conv_in.bias[0] = float("inf")
    folder = save_checkpoint(tmp_path, state, Progress(3, 24), keep=2)
    tensor = "log_variance" if name == "training" else "decoder.conv_in.bias"
    with pytest.raises(UserError, match=rf"{name}\..*: {tensor} holds numbers that are not finite"):
        load_checkpoint(folder, make_state(GAN))


@pytest.mark.parametrize("change", ["another photo", "another seed"])
def test_a_run_goes_on_only_in_the_order_it_began(
    change: str, make_experiment, photos: Path, tmp_path: Path
) -> None:
    where = f"train.run_dir={tmp_path / 'run'}"
    train(make_experiment(where, "train.steps=2"))
    seed = "train.seed=0"
    if change == "another photo":
        shutil.copy(sorted(photos.iterdir())[0], photos / "new.png")
    else:
        seed = "train.seed=1"
    with pytest.raises(ValueError, match="Restore the data and the seed"):
        train(make_experiment(where, seed), resume="latest")


def test_a_grown_folder_is_taken_when_it_is_said(
    make_experiment, photos: Path, tmp_path: Path, capsys
) -> None:
    where = f"train.run_dir={tmp_path / 'run'}"
    train(make_experiment(where, "train.steps=2"))
    shutil.copy(sorted(photos.iterdir())[0], photos / "new.png")
    grown = make_experiment(where, "train.steps=4", "train.new_data=true")
    before = read_progress(tmp_path / "run" / "checkpoints" / "step-00000002")
    train(grown, resume="latest")
    said = f"the run saw {before.num_images} images"
    assert f"{said} in the order of train.seed=0; now there are {before.num_images + 1}" in (
        capsys.readouterr().out
    )
    after = read_progress(tmp_path / "run" / "checkpoints" / "step-00000004")
    assert (after.num_images, after.images_seen) == (before.num_images + 1, 2 * before.images_seen)
    train(grown, resume="latest")
    assert said not in capsys.readouterr().out
