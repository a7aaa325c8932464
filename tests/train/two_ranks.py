"""Run by torchrun: three float64 steps on this rank's share of four images; saves all weights."""

import sys
from pathlib import Path

import torch

from ldm_ae import config
from ldm_ae.data.batch import Batch
from ldm_ae.distributed import world
from ldm_ae.train.config import Experiment
from ldm_ae.train.setup import build_players, make_accelerator
from ldm_ae.train.steps import train_step

path, out, *overrides = sys.argv[1:]
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
experiment = config.load(Experiment, path, overrides)
accelerator = make_accelerator(experiment.train, Path("unused"))
players, _ = build_players(experiment, accelerator, None)

rank, world_size = world()
share = 4 // world_size
mine = slice(rank * share, (rank + 1) * share)
for step in range(3):
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(4, 3, 16, 16, generator=generator) * 2 - 1
    keys = torch.arange(4 * step, 4 * step + 4)
    batch = Batch(images[mine], keys[mine], [""] * share, [])
    train_step(players, [batch], step, seed=7, clip_norm=1.0)

networks = [players.trainee]
if players.discriminator is not None:
    networks.append(accelerator.unwrap_model(players.discriminator))
values = [v.double().flatten() for network in networks for v in network.state_dict().values()]
torch.save(torch.cat(values), f"{out}-rank{rank}.pt")
accelerator.end_training()
