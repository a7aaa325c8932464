"""One step: what moves, what must not, and that ranks and accumulation equal a larger batch."""

import os
import random
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.train.steps import learning_rate_factor, train_step


def test_accumulation_equals_the_larger_batch(make_state, make_batch, flat, float64) -> None:
    one, two = (make_state() for _ in range(2))
    for step in range(2):
        train_step(one, [make_batch(4)], step)
        train_step(two, [make_batch(2), make_batch(2, first=2)], step)
    torch.testing.assert_close(
        flat(one.generator.module), flat(two.generator.module), atol=1e-9, rtol=0
    )


def test_the_step_sets_a_codebooks_temperature(make_state, make_batch) -> None:
    state = make_state(
        "model={kind: discrete, latent_channels: 4, coder: {channels: [8, 8], num_res_blocks: 1,"
        " norm_groups: 4}, codebook: {kind: gumbel, size: 8, temperature_start: 2,"
        " temperature_end: 1, temperature_steps: 2}}"
    )
    seen = []
    for step in range(3):
        train_step(state, [make_batch(2)], step)
        seen.append(state.autoencoder.quantizer.temperature)
    assert seen == [2.0, 1.5, 1.0]


def test_bf16_changes_nearly_all_weights_and_keeps_them_fp32(make_state, make_batch, flat) -> None:
    state = make_state("train.precision=bf16", "train.lr=4.5e-6")
    before = flat(state.autoencoder)
    for step in range(3):
        train_step(state, [make_batch(4)], step)
    assert all(p.dtype == torch.float32 for p in state.generator.module.parameters())
    changed = (flat(state.autoencoder) != before).double().mean()
    assert float(changed) > 0.99


def test_learned_log_variance_moves_and_a_fixed_one_does_not(make_state, make_batch) -> None:
    for learn in (True, False):
        state = make_state(f"loss.learn_log_variance={learn}", "train.clip_norm=0")
        train_step(state, [make_batch(2)], 0)
        assert bool(state.generator.module.log_variance.detach() != 0) is learn


def test_the_perceptual_term_alone_trains_the_decoder(make_state, flat) -> None:
    shares = []
    for weight in (0.0, 1.0):
        state = make_state(
            "loss.perceptual.net=embedded",
            "data.size=32",
            "loss.reconstruction_weight=0",
            "loss.kl_weight=0",
            f"loss.perceptual_weight={weight}",
        )
        decoder = state.autoencoder.decoder
        start = flat(decoder)
        large = Batch(torch.rand(1, 3, 32, 32) * 2 - 1, torch.arange(1), [""], [])
        for step in range(2):
            train_step(state, [large], step)
        shares.append(float((flat(decoder) != start).double().mean()))
    assert shares[0] == 0.0
    assert shares[1] > 0.95


def test_perceptual_weight_zero_leaves_the_network_out(make_state) -> None:
    assert make_state().objective.perceptual is None


def test_warmup_then_constant() -> None:
    factors = [learning_rate_factor(step, 100, 4, "constant") for step in (0, 1, 3, 4, 99)]
    assert factors == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_cosine_ends_at_the_final_factor() -> None:
    assert learning_rate_factor(10, 110, 10, "cosine", 0.1) == 1.0
    assert learning_rate_factor(60, 110, 10, "cosine", 0.1) == pytest.approx(0.55)
    assert learning_rate_factor(110, 110, 10, "cosine", 0.1) == pytest.approx(0.1)


def test_process_random_numbers_are_a_function_of_the_step(make_state, make_batch) -> None:
    """Whatever draws from them goes on after a resume as if nothing had happened."""
    state = make_state()
    draws = []
    for step in (0, 1, 0):
        train_step(state, [make_batch(2)], step)
        draws.append((torch.rand(()).item(), random.random(), np.random.rand()))
    assert draws[0] == draws[2]
    assert all(first != second for first, second in zip(*draws[:2], strict=True))


@pytest.mark.parametrize("game", [False, True])
def test_an_update_fetches_its_scalars_once(
    game: bool, make_state, make_batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fetch waits for the device: one of the generator's and one of the discriminator's."""
    settings = "loss.adversarial={weight: 0.5, start_step: 0, num_layers: 2, base_channels: 8}"
    state = make_state(*[settings] * game)
    fetched = []
    to_list = torch.Tensor.tolist

    def counted(tensor: torch.Tensor):
        fetched.extend([tensor.dtype] * tensor.is_floating_point())
        return to_list(tensor)

    def refused(tensor: torch.Tensor):
        pytest.fail("a scalar left the device by itself")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", counted)
        for name in ("__float__", "__bool__"):
            patch.setattr(torch.Tensor, name, refused)
        train_step(state, [make_batch(2), make_batch(2, first=2)], 0)
    assert len(fetched) == 1 + game


RANKS = Path(__file__).with_name("two_ranks.py")


@pytest.mark.slow
def test_two_ranks_equal_one_process_with_the_double_batch(
    tiny_yaml: Path, tmp_path: Path, float64
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(RANKS), str(tiny_yaml), str(tmp_path / "2")],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        single = runpy.run_path(str(RANKS))["final_states"](tiny_yaml)
        for rank in ranks:
            _, errors = rank.communicate(timeout=240)
            assert rank.returncode == 0, errors[-3000:]
    finally:
        for rank in ranks:
            rank.kill()
    first, second = (torch.load(tmp_path / f"2-rank{rank}.pt") for rank in "01")
    assert list(single) == ["kl", "gan", "vq with every adversarial option"]
    for family, weights in single.items():
        assert weights.dtype == torch.float64
        assert torch.equal(first[family], second[family]), family
        assert float((weights - first[family]).abs().max()) <= 1e-9, family
