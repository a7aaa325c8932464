"""One step: what moves, what must not, and that ranks and accumulation equal a larger batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.train.steps import train_step


def test_accumulation_equals_the_larger_batch(make_players, make_batch, flat) -> None:
    one, two = (make_players() for _ in range(2))
    for step in range(2):
        train_step(one, [make_batch(4)], step, seed=0, clip_norm=1.0)
        train_step(two, [make_batch(2), make_batch(2, first=2)], step, seed=0, clip_norm=1.0)
    torch.testing.assert_close(flat(one.trainee), flat(two.trainee), atol=1e-6, rtol=1e-5)


def test_bf16_changes_nearly_all_weights_and_keeps_them_fp32(
    make_players, make_batch, flat
) -> None:
    playing = make_players("train.precision=bf16", "train.lr=4.5e-6")
    before = flat(playing.trainee.autoencoder)
    for step in range(3):
        train_step(playing, [make_batch(4)], step, seed=0, clip_norm=1.0)
    assert all(p.dtype == torch.float32 for p in playing.trainee.parameters())
    changed = (flat(playing.trainee.autoencoder) != before).double().mean()
    assert float(changed) > 0.99


def test_learned_log_variance_moves_and_a_fixed_one_does_not(make_players, make_batch) -> None:
    for learn in (True, False):
        playing = make_players(f"loss.learn_log_variance={learn}")
        train_step(playing, [make_batch(2)], 0, seed=0, clip_norm=0)
        assert bool(playing.trainee.log_variance.detach() != 0) is learn


def test_the_perceptual_term_alone_trains_the_decoder(make_players, flat) -> None:
    shares = []
    for weight in (0.0, 1.0):
        playing = make_players(
            "loss.perceptual.net=embedded",
            "data.size=32",
            "loss.reconstruction_weight=0",
            "loss.kl_weight=0",
            f"loss.perceptual_weight={weight}",
        )
        decoder = playing.trainee.autoencoder.decoder
        start = flat(decoder)
        large = Batch(torch.rand(1, 3, 32, 32) * 2 - 1, torch.arange(1), [""], [])
        for step in range(2):
            train_step(playing, [large], step, seed=0, clip_norm=1.0)
        shares.append(float((flat(decoder) != start).double().mean()))
    assert shares[0] == 0.0
    assert shares[1] > 0.95


def test_perceptual_weight_zero_leaves_the_network_out(make_players) -> None:
    assert make_players().objective.perceptual is None


RANKS = Path(__file__).with_name("two_ranks.py")


@pytest.mark.slow
def test_two_ranks_equal_one_process_with_the_double_batch(tiny_yaml: Path, tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d"]
    for num_ranks, command in ((1, []), (2, [*launch, "--rdzv-endpoint=localhost:0"])):
        finished = subprocess.run(
            [sys.executable, *command, str(RANKS), str(tiny_yaml), str(tmp_path / f"{num_ranks}")],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
    single, first, second = (
        torch.load(tmp_path / f"{name}.pt") for name in ("1-rank0", "2-rank0", "2-rank1")
    )
    assert list(single) == ["kl", "gan", "vq with every adversarial option"]
    for family, weights in single.items():
        assert weights.dtype == torch.float64
        assert torch.equal(first[family], second[family]), family
        assert float((weights - first[family]).abs().max()) <= 1e-9, family
