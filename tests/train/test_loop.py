"""Whole runs, end to end: what they leave behind, that they resume, and that they learn."""

import errno
import json
import math
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import ldm_ae
from ldm_ae import config
from ldm_ae.data import tars
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images
from ldm_ae.errors import UserError
from ldm_ae.files import write_through
from ldm_ae.quantizers.build import QUANTIZERS
from ldm_ae.train.config import Experiment
from ldm_ae.train.loop import train

CODER = "coder: {channels: [8, 8], num_res_blocks: 1, mid_attention: false, norm_groups: 4}"
FAMILIES = {
    "kl": [],
    "plain": [f"model={{kind: plain, latent_channels: 2, {CODER}}}"],
    **{
        codebook.kind: [f"model={{kind: discrete, {CODER}, codebook: {{kind: {codebook.kind}}}}}"]
        for codebook in QUANTIZERS
    },
    "vq that revives codes": [
        f"model={{kind: discrete, latent_channels: 2, {CODER}, codebook: {{kind: vq, size: 8,"
        " revive_after: 1}}"
    ],
    "gumbel with logit-Laplace": [
        f"model={{kind: discrete, {CODER}, codebook: {{kind: gumbel, size: 8}},"
        " predict_scale: true}",
        "loss.reconstruction=logit_laplace",
    ],
    "kl with a decoder of its own": ["model.decoder={channels: [4, 8]}"],
    "tiny": [
        "model={kind: tiny, latent_channels: 2, encoder_width: 4, encoder_blocks: [1, 1],"
        " decoder_width: 4, decoder_blocks: [1, 1]}"
    ],
    "kl with a discriminator": [
        "loss.adversarial={weight: 0.5, start_step: 1, num_layers: 2, base_channels: 8,"
        " discriminator_warmup_steps: 1, ramp_steps: 3, lecam_weight: 0.01}"
    ],
    "kl by Muon, accumulated": [
        "train.optimizer=muon",
        "train.accumulation=2",
        "loss.learn_log_variance=true",
    ],
    "kl with fast kernels": ["train.kernels=fast", "train.optimizer=muon", "train.precision=bf16"],
    "grey": [
        "data.channels=1",
        f"model={{kind: kl, latent_channels: 2, {CODER[:-1]}, image_channels: 1}}}}",
    ],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_exports_and_loads(name: str, make_experiment) -> None:
    experiment = make_experiment(*FAMILIES[name])
    export = train(experiment)
    run = Path(experiment.train.run_dir)
    assert config.load(Experiment, run / "config.yaml") == experiment
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == [
        "step-00000002",
        "step-00000004",
    ]
    (line,) = (run / "validation.jsonl").read_text().splitlines()
    scores = json.loads(line)
    assert (run / "previews" / "step-00000004.png").is_file()
    assert list((run / "tensorboard").rglob("events*"))
    model = ldm_ae.load(export)
    channels = experiment.data.channels
    with torch.no_grad():
        assert model.reconstruct(torch.zeros(1, channels, 9, 11)).shape == (1, channels, 9, 11)
        held_out = [image for _, image in validation_images(open_data(experiment.data))]
        ours = [_psnr(to_uint8(model.reconstruct(to_float(x[None])))[0], x) for x in held_out]
    # What was measured is what was exported.
    assert scores["psnr"] == pytest.approx(sum(ours) / 2, abs=0.05)


def _psnr(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return 10 * math.log10(255**2 / float((ours.double() - theirs.double()).square().mean()))


def final_weights(experiment: Experiment) -> dict[str, dict[str, torch.Tensor]]:
    folder = Path(experiment.train.run_dir) / "checkpoints" / "step-00000004"
    return {name: load_file(folder / f"{name}.safetensors") for name in ("model", "ema")}


@pytest.mark.parametrize(
    "name",
    ["kl", "vq that revives codes", "gumbel", "kl with a discriminator", "kl by Muon, accumulated"],
)
def test_resumed_run_ends_with_the_same_bits(name: str, make_experiment, tmp_path: Path) -> None:
    whole = make_experiment(*FAMILIES[name], f"train.run_dir={tmp_path / 'whole'}")
    train(whole)
    cut = make_experiment(*FAMILIES[name], f"train.run_dir={tmp_path / 'cut'}")
    train(cut)
    latest = tmp_path / "cut" / "checkpoints" / "step-00000004"
    latest.rename(tmp_path / "lost")  # as if the run had died between the two checkpoints
    train(cut, resume="latest")
    expected, resumed = final_weights(whole), final_weights(cut)
    for kind in ("model", "ema"):
        for key, value in expected[kind].items():
            assert torch.equal(value, resumed[kind][key]), f"{kind} {key}"


@pytest.mark.slow
def test_two_processes_train_and_export(tiny_yaml: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "train_kl_ae.py"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = [*launch, "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", str(script)]
    finished = subprocess.run(
        [*command, "--config", str(tiny_yaml)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.count("Export:") == 1
    assert ldm_ae.load(tmp_path / "run" / "export").config.kind == "kl"
    state = tmp_path / "run" / "checkpoints" / "step-00000004" / "state.json"
    progress = json.loads(state.read_text())
    assert (progress["step"], progress["images_seen"], progress["seed"]) == (4, 16, 0)


def test_a_few_images_are_learned(make_experiment) -> None:
    experiment = make_experiment(
        "train.steps=200", "train.optimizer=muon", "train.validate_every=200", "train.ema_decay=0.9"
    )
    train(experiment)
    line = (Path(experiment.train.run_dir) / "validation.jsonl").read_text()
    assert json.loads(line)["psnr"] > 14


def test_a_checkpoint_of_another_model_is_refused(make_experiment) -> None:
    train(make_experiment())
    other = make_experiment("model.latent_channels=3", "train.steps=6")
    with pytest.raises(ValueError, match="does not fit this config"):
        train(other, resume="latest")
    with pytest.raises(ValueError, match="does not fit this config"):
        train(make_experiment("train.optimizer=muon", "train.steps=6"), resume="latest")


def test_broken_images_are_skipped_and_named_once(make_experiment, photos: Path, capsys) -> None:
    (photos / "broken.png").write_bytes(b"not a picture")
    train(make_experiment("train.steps=8", "data.validation_count=0"))
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("skipped broken.png") == 1


def test_shards_are_indexed_once_in_a_whole_run(make_experiment, photos, tmp_path, monkeypatch):
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as file:
        for path in sorted(photos.iterdir()):
            file.add(path, path.name)
    indexed: list[str] = []
    index = tars.index_tar

    def counted(path: str, *settings: Any) -> tars.TarShard:
        indexed.append(path)
        return index(path, *settings)

    monkeypatch.setattr(tars, "index_tar", counted)
    train(make_experiment("data.kind=tar", f"data.path={shard}", "train.steps=2"))
    assert indexed == [str(shard)]


def test_a_full_disk_is_named_and_the_run_goes_on_after_it(
    make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment()
    run = Path(experiment.train.run_dir)

    def full(path: Path, content: bytes) -> None:
        if "step-00000004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_through(path, content)

    monkeypatch.setattr("ldm_ae.train.checkpoint.write_through", full)
    with pytest.raises(OSError, match=f"disk of {run}; the last good checkpoint is .*-00000002"):
        train(experiment)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    assert train(experiment, "auto").is_dir()


def test_a_kill_during_the_export_is_made_good(
    make_experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    experiment = make_experiment()
    with monkeypatch.context() as patch:
        patch.setattr("ldm_ae.train.loop.export_run", killed)
        with pytest.raises(SystemExit):
            train(experiment)
    assert ldm_ae.load(train(experiment, "latest")).config.kind == "kl"
    assert ldm_ae.load(train(experiment, "latest")).config.kind == "kl"  # over what is there


def test_fewer_steps_than_are_done_are_refused(make_experiment) -> None:
    train(make_experiment())
    kept = Path(make_experiment().train.run_dir) / "config.yaml"
    before = kept.read_bytes()
    with pytest.raises(UserError, match=r"train.steps=1: .* is at step 4 already: ask for as many"):
        train(make_experiment("train.steps=1", "train.warmup_steps=1"), "latest")
    assert kept.read_bytes() == before


def test_another_shape_than_the_checkpoints_is_named_in_a_line(make_experiment) -> None:
    train(make_experiment())
    with pytest.raises(UserError, match=r"leave `model`, `loss` and .*config.yaml") as caught:
        train(make_experiment("model.latent_channels=7"), "latest")
    assert "size mismatch" in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
