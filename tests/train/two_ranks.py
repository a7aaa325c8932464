"""Float64 steps of some families on this rank's share of four images each; as a script, one of two
ranks, which saves every family's whole state."""

import os
import sys
from pathlib import Path

import torch

from ldm_ae import config
from ldm_ae.data.batch import Batch
from ldm_ae.distributed import world
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.config import Experiment
from ldm_ae.train.state import TrainState
from ldm_ae.train.steps import train_step

VQ = (
    "model={kind: vq, latent_channels: 2, coder: {channels: [8, 8], num_res_blocks: 1,"
    " mid_attention: false, norm_groups: 4}, codebook: {size: 8, revive_after: 2}}"
)
GAME = (
    "weight: 0.5, start_step: 2, discriminator_warmup_steps: 3, ramp_steps: 6,"
    " lr_warmup_steps: 4, base_channels: 8"
)
BROKEN = (12, 3)  # the step and the image, which is the second rank's alone

# Steps and overrides; the first two end before the broken image.
FAMILIES = {
    "kl": [3],
    "gan": [12, f"loss.adversarial={{{GAME}, num_layers: 2}}"],
    "vq with every adversarial option": [
        20,
        VQ,
        f"loss.adversarial={{{GAME}, num_layers: 1,"
        " spectral_norm: true, loss: non_saturating, lecam_weight: 0.1, r1_weight: 10,"
        " r1_every: 3}",
        "train.non_finite=skip",
    ],
}


def batch(step: int) -> Batch:
    """This rank's share of the step's four images."""
    rank, world_size = world()
    share = 4 // world_size
    mine = slice(rank * share, (rank + 1) * share)
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(4, 3, 16, 16, generator=generator) * 2 - 1
    if step == BROKEN[0]:
        images[BROKEN[1]] = float("nan")
    names = [f"{step}-{i}.png" for i in range(4)]
    return Batch(images[mine], torch.arange(4 * step, 4 * step + 4)[mine], names[mine], [])


def everything(state: TrainState) -> torch.Tensor:
    trained = [item for item in (state.generator, state.discriminator) if item is not None]
    networks = [item.module for item in trained]
    values = [value for network in networks for value in network.state_dict().values()]
    return torch.cat([value.double().flatten() for value in values])


def final_states(path: str | Path) -> dict[str, torch.Tensor]:
    """Everything of each family after its steps, by the config at `path`, on this rank."""
    accelerator = make_accelerator(config.load(Experiment, path, []).train, Path("unused"))
    ends = {}
    for family, (steps, *overrides) in FAMILIES.items():
        experiment = config.load(Experiment, path, [*overrides, f"train.steps={steps}"])
        state = build_state(experiment, accelerator)
        for step in range(steps):
            terms = train_step(state, [batch(step)], step)
        assert state.discriminator is None or "adversarial" in terms
        skipped = [note.rpartition(" ")[2] for note in state.guard.take_notes()]
        assert skipped == ["12-3.png"] * (steps > BROKEN[0]), skipped
        ends[family] = everything(state)
    accelerator.end_training()
    return ends


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.save(final_states(sys.argv[1]), f"{sys.argv[2]}-rank{os.environ['RANK']}.pt")
