"""The adversarial term enters without a jump, at a tiny scale."""

from dataclasses import replace
from pathlib import Path

import pytest

from ldm_ae.bench.gan_start import STARTS, make_experiment, play, save_curves, summary, with_start
from ldm_ae.train.config import Experiment

TINY = [
    "model.coder.channels=[16, 32]",
    "data.size=32",
    "data.num_workers=0",
    "data.validation_count=4",
    "train.batch_size=4",
    "train.precision=fp32",
    "train.kernels=plain",
    "loss.adversarial.num_layers=2",
    "loss.adversarial.base_channels=16",
]
LENGTHS = {"settle_steps": 45, "warmup_steps": 10, "ramp_steps": 20, "after_steps": 0}


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment("quickstart", TINY, **LENGTHS)


@pytest.mark.slow
def test_the_distance_stays_within_a_tenth_over_the_ramp(
    experiment: Experiment, tmp_path: Path
) -> None:
    """With the defaults' ratio of warm-up to ramp, at a fiftieth of their length. Where the
    adaptive weight misses its division by C H W, PSNR falls by 2.7 dB."""
    curve = play(experiment, tmp_path, early_steps=30, every=5)
    row = summary(curve, experiment)
    assert row["finite"]
    assert row["distance_before"] < 0.8 * curve[0]["distance"]  # it had learned something
    assert row["distance_rise"] < 0.1
    assert row["psnr_lowest"] > row["psnr_before"] - 1


def test_the_starts_differ_only_in_when_the_discriminator_enters(experiment: Experiment) -> None:
    games = {name: with_start(experiment, name).loss.adversarial for name in STARTS}
    assert games["our start"] == experiment.loss.adversarial
    assert games["no discriminator"] == replace(games["our start"], weight=0.0)
    abrupt = games["abrupt start"]
    assert abrupt.start_step == 55 and abrupt.generator_factor(0) == 1.0


def test_a_row_tells_the_worst_since_the_generator_saw_it(
    experiment: Experiment, tmp_path: Path
) -> None:
    points = ((0, 10, 0.9), (50, 20, 0.5), (60, 15, 0.75), (75, 21, 0.4))
    curve = [{"step": step, "psnr": db, "distance": d} for step, db, d in points]
    row = summary(curve, experiment)  # the generator sees it from step 55 on
    assert (row["psnr_before"], row["psnr_lowest"], row["psnr_end"]) == (20, 15, 21)
    assert row["distance_rise"] == pytest.approx(0.5)
    drawn = [{"start": "our start", "precision": "fp32", "seed": 0, "curve": curve}]
    marks = ("discriminator_enters_at", "generator_sees_it_from", "full_weight_from")
    save_curves(tmp_path / "deep" / "curves.png", drawn, dict.fromkeys(marks, 50))
    assert (tmp_path / "deep" / "curves.png").read_bytes().startswith(b"\x89PNG")
