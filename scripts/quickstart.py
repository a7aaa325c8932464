"""Fine-tune, export, use and measure a small KL autoencoder: what the package is for, once.

A few training steps are timed first, and the number of steps, then the crop, are chosen so that
training takes at most four minutes. Leaves runs/quickstart/export (a diffusers folder), report.json
and reconstructions.png.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Threads that spin while they wait for others make a step twenty times slower on a busy machine.
# The library reads this as torch loads it, here and in the training that is started below.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

import ldm_ae
from ldm_ae import zoo
from ldm_ae.bench.latents import RawLatents
from ldm_ae.bench.model_coder import ModelCoder
from ldm_ae.bench.panel import formats, measured
from ldm_ae.bench.pca import fit_patch_pca
from ldm_ae.bench.photos import EMBEDDED, list_photos
from ldm_ae.bench.reconstruction import compare, plain_codec
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.data.batch import Batch
from ldm_ae.data.folder import EMBEDDED_TRAIN, embedded_photos
from ldm_ae.data.images import load_image, pad_to_multiple, to_float
from ldm_ae.metrics.panel import open_panel
from ldm_ae.models.base import Autoencoder
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.initial import load_experiment
from ldm_ae.train.kernels import settle_kernels
from ldm_ae.train.precision import settle_precision
from ldm_ae.train.steps import train_step
from ldm_ae.viz.grids import save_reconstruction_grid

ROOT = Path(__file__).parents[1]
CONFIG = "quickstart"
# From the package's model, at a tenth of the rates that the config has for random weights.
START = ["model={kind: kl, init_from: kl16}", "train.muon_lr=0.002", "train.lr=2e-4"]
RUN = Path("runs/quickstart")
SECONDS = 240 - 30  # four minutes, less what starting takes
MOST_STEPS = 240
BESIDE = 1.4  # a step of a training, whose workers want the same cores, over a step by itself
OVERHEAD_STEPS = 20  # what validation and export take, in steps
ENOUGH_STEPS = 40  # of fewer, or as long a training on smaller crops, the latter is better
SIZES = (128, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, help="training steps, whatever time they take")
    arguments = parser.parse_args()
    started = time.perf_counter()
    steps, size = (arguments.steps, SIZES[0]) if arguments.steps else fit_to_machine()
    train(steps, size)
    trained = time.perf_counter()
    model = ldm_ae.load(ROOT / RUN / "export")
    sample_with_a_pipeline(ROOT / RUN / "export")
    report(model, trained - started)
    print(f"done in {time.perf_counter() - started:.0f} s; look at {RUN}/reconstructions.png")


def fit_to_machine() -> tuple[int, int]:
    """(steps, crop) of a training that takes at most four minutes here, stated."""
    for size in SIZES:
        seconds = BESIDE * seconds_per_step(size)
        steps = min(MOST_STEPS, int(SECONDS / seconds) - OVERHEAD_STEPS)
        if steps >= ENOUGH_STEPS:
            break
    steps = max(steps, 1)
    minutes = (steps + OVERHEAD_STEPS) * seconds / 60
    print(
        f"A step on {size} px crops takes about {seconds:.2f} s here: {steps} steps, about"
        f" {minutes:.1f} minutes",
        flush=True,
    )
    return steps, size


def seconds_per_step(size: int) -> float:
    """Time of a training step on crops of `size` px: the median of a few after the first."""
    experiment = load_experiment(CONFIG, [*START, f"data.size={size}"])
    experiment, _ = settle_precision(experiment, None)
    experiment, _ = settle_kernels(experiment, None)
    AcceleratorState._reset_state(reset_partial_state=True)  # each size settles its precision
    accelerator = make_accelerator(experiment.train, RUN)
    state = build_state(experiment, accelerator)
    images = torch.rand(experiment.train.batch_size, 3, size, size) * 2 - 1
    keys = torch.arange(len(images))
    batch = Batch(images.to(accelerator.device), keys, [str(key) for key in keys.tolist()], [])
    times: list[float] = []
    while len(times) < 10 and sum(times) < 20:
        started = time.perf_counter()
        train_step(state, [batch], len(times))
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:] or times)


def train(steps: int, size: int) -> None:
    """The training script, started as a user would start it."""
    shutil.rmtree(ROOT / RUN, ignore_errors=True)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = ["scripts/train_kl_ae.py", "--config", CONFIG, *START, f"data.size={size}"]
    command += [f"train.steps={steps}", f"train.warmup_steps={min(steps, 30)}"]
    print("$ accelerate launch " + shlex.join(command), flush=True)
    finished = subprocess.run(launch + command, cwd=ROOT)
    if finished.returncode:
        sys.exit(finished.returncode)


def sample_with_a_pipeline(export: Path) -> None:
    """The export inside a diffusers pipeline, with an untrained denoiser: it decodes noise."""
    vae = AutoencoderKL.from_pretrained(export)
    torch.manual_seed(0)
    denoiser = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=vae.config.latent_channels,
        out_channels=2 * vae.config.latent_channels,
        num_layers=2,
        sample_size=16,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    pipeline = DiTPipeline(denoiser, vae, DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(class_labels=[1], num_inference_steps=5).images[0]
    image.save(ROOT / RUN / "pipeline_sample.png")
    print(
        f"DiTPipeline decoded a {image.width}x{image.height} image with scaling_factor"
        f" {vae.config.scaling_factor:.4f}"
    )


def training_photos() -> list[torch.Tensor]:
    return [to_float(load_image(path)) for path in embedded_photos(EMBEDDED_TRAIN)]


def report(model: Autoencoder, seconds: float) -> None:
    """Scores beside PCA at the same number of latent values, the package's models and JPEG, and a
    picture."""
    photos = list_photos(EMBEDDED)  # those that training never saw, whole
    f, c = model.downsampling_factor, model.latent_channels
    panel = open_panel()
    pca = fit_patch_pca([pad_to_multiple(photo, f)[0] for photo in training_photos()], f, c)
    coders = [
        RawLatents("kl16, fine-tuned here", model),
        RawLatents(f"PCA, {c} values per {f}x{f} patch", pca),
        RawLatents("kl16, of the package", ldm_ae.load("kl16")),
        ModelCoder("codec, of the package", zoo.names()["codec"], [30]),
        plain_codec("jpeg", 10, 50),
    ]
    rows = compare(coders, photos, panel)
    content = {
        "protocol": {
            "images": [photo.name for photo in photos],
            "metrics": panel.protocol(),
            "reconstruction": "mode of the posterior, averaged weights, rounded to uint8",
            "bpp": "raw: fp16 numbers for latents and PCA, file size for the codec and JPEG",
        },
        "training_seconds": round(seconds, 1),
        "rows": rows,
        **provenance(),
    }
    write_json(ROOT / RUN / "report.json", content)
    columns = {"name": "s"} | formats(measured(rows)) | {"bpp": ".2f"}
    print(format_table(rows, columns))
    originals = [to_float(photo.pixels()) for photo in photos]
    with torch.inference_mode():
        reconstructions = [model.reconstruct(original)[0] for original in originals]
    save_reconstruction_grid(
        ROOT / RUN / "reconstructions.png", [image[0] for image in originals], reconstructions
    )


if __name__ == "__main__":
    main()
