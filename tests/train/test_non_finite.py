import pytest
import torch

from ldm_ae.data.batch import Batch
from ldm_ae.train.non_finite import NonFiniteError
from ldm_ae.train.steps import train_step

VQ = (
    "model={kind: vq, latent_channels: 2, coder: {channels: [8, 8], num_res_blocks: 1,"
    " mid_attention: false, norm_groups: 4}, codebook: {size: 8, revive_after: 2}}"
)
GAME = (
    "loss.adversarial={weight: 0.5, start_step: 0, num_layers: 2, base_channels: 8,"
    " discriminator_warmup_steps: 0, ramp_steps: 0}"
)
SKIP = "train.non_finite=skip"


@pytest.fixture
def broken(make_batch) -> Batch:
    batch = make_batch(3)
    batch.images[1, 0, 0, 0] = float("nan")
    return batch


@pytest.mark.parametrize("game", [[], [GAME]])
def test_stops_before_the_update_and_names_term_and_image(
    game: list[str], make_state, make_batch, broken: Batch, flat
) -> None:
    state = make_state(*game)
    before = flat(state.generator.module)
    with pytest.raises(NonFiniteError, match=r"l1.*not finite themselves: 1\.png$"):
        train_step(state, [make_batch(2), broken], 0)
    assert torch.equal(flat(state.generator.module), before)


def test_an_overflow_in_the_network_names_the_reconstruction(make_state, make_batch) -> None:
    state = make_state()
    batch = make_batch(3)
    batch.images[2] = 1e30  # finite, but its square is not
    with pytest.raises(FloatingPointError, match=r"reconstructions that are not finite: 2\.png"):
        train_step(state, [batch], 0)


def test_a_broken_gradient_alone_is_caught(make_state, make_batch) -> None:
    state = make_state()
    weight = state.autoencoder.decoder.conv_out.weight
    weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteError, match=r"gradient norm of (nan|inf); all .*0\.png, 1\.png"):
        train_step(state, [make_batch(2)], 0)


def test_an_infinite_term_with_a_finite_gradient_is_caught(make_state, make_batch) -> None:
    state = make_state()
    objective = state.objective

    def infinite(*arguments):
        losses = objective(*arguments)
        losses.terms["loss"] = losses.terms["loss"] + float("inf")
        return losses

    infinite.config = objective.config
    state.objective = infinite
    with pytest.raises(NonFiniteError, match="non-finite loss"):
        train_step(state, [make_batch(2)], 0)


def test_a_skipped_update_leaves_no_trace(make_state, make_batch, broken: Batch, flat) -> None:
    """The run with the broken batch skipped ends where one without it ends, codebook included."""
    clean, hit = (make_state(VQ, GAME, SKIP) for _ in range(2))
    for state in (clean, hit):
        for step in range(2):
            train_step(state, [make_batch(2, first=step)], step)
            if state is hit:
                terms = train_step(state, [broken], step)
                assert "loss" not in terms
                assert float(terms["skipped_updates"]) == step + 1
    assert torch.equal(flat(clean.generator.module), flat(hit.generator.module))
    assert torch.equal(flat(clean.discriminator.module), flat(hit.discriminator.module))
    (note, _) = hit.guard.take_notes()
    assert note.startswith("update skipped: non-finite l1") and note.endswith("1.png")
    assert hit.guard.take_notes() == []


def test_a_discriminator_that_breaks_skips_its_own_update_alone(
    make_state, make_batch, flat
) -> None:
    state = make_state(GAME, SKIP)
    model, critic = flat(state.generator.module), flat(state.discriminator.module)
    next(iter(state.discriminator.module.parameters())).register_hook(
        lambda grad: grad * float("nan")
    )
    terms = train_step(state, [make_batch(2)], 0)
    assert not torch.equal(flat(state.generator.module), model)
    assert torch.equal(flat(state.discriminator.module), critic)
    assert float(terms["skipped_updates"]) == 1
    assert "loss" in terms


def test_too_many_in_a_row_stop(make_state, make_batch, broken: Batch) -> None:
    state = make_state(SKIP, "train.max_skipped=2")
    order = [broken, broken, make_batch(2), broken, broken]
    for step, batch in enumerate(order):
        train_step(state, [batch], step)
    assert state.guard.num_skipped == 4
    with pytest.raises(NonFiniteError, match=r"1\.png\. This was update 3 in a row.*max_skipped=2"):
        train_step(state, [broken], 5)
