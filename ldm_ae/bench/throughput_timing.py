"""The time of one task in this process: a training step, or a way through one coder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldm_ae import config
from ldm_ae.bench.throughput_subjects import Subject
from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
from ldm_ae.data.batch import Batch
from ldm_ae.losses.perceptual import build_perceptual
from ldm_ae.losses.reconstruction import l1
from ldm_ae.models.build import build_model
from ldm_ae.models.fast import make_fast
from ldm_ae.train.accelerator import make_accelerator
from ldm_ae.train.build import build_state
from ldm_ae.train.config import Experiment
from ldm_ae.train.steps import train_step

# L1, LPIPS and KL, whatever the config's recipe: what a plain loop has.
_LOSS = "loss={perceptual: {net: squeeze}, perceptual_weight: 2}"


def measure(subject: Subject, seconds: float, weights: str | None) -> tuple[float, float]:
    """The least time of a call, and that of the first one, in seconds: the processor's on a CPU,
    the clock's on a GPU, which is waited for."""
    torch.set_num_threads(1)  # threads that wait for each other count other people's work
    torch.manual_seed(0)
    overrides = ["data.kind=embedded", "train.trackers=[]", _LOSS]
    overrides.append(f"train.device={subject.device}")
    overrides += [f"data.size={subject.side}", f"train.batch_size={subject.batch}"]
    overrides += [f"train.precision={'bf16' if subject.bf16 else 'fp32'}"]
    if subject.device == "cpu":
        overrides.append(f"train.kernels={'fast' if subject.fast else 'plain'}")
    if weights is not None:
        overrides.append(f"loss.perceptual.weights={weights}")
    overrides += subject.overrides
    experiment = config.load(Experiment, subject.model, overrides)
    if subject.task != "step":
        call = _coder_pass(subject, experiment)
    elif subject.implementation == "ours":
        call = _our_step(experiment)
    else:
        call = _plain_step(subject, experiment)
    times: list[float] = []
    while sum(times[1:]) < seconds or len(times) < 3:
        started = _now(subject.device)
        call()
        times.append(_now(subject.device) - started)
    return min(times[1:]), times[0]


def _now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _our_step(experiment: Experiment) -> Callable[[], object]:
    state = build_state(experiment, make_accelerator(experiment.train, Path("unused")))
    images = _images(experiment).to(state.accelerator.device)
    keys = torch.arange(len(images))
    batch = Batch(images, keys, [str(key) for key in keys.tolist()], [])
    return lambda: train_step(state, [batch], 100)


def _plain_step(subject: Subject, experiment: Experiment) -> Callable[[], object]:
    """What people write around diffusers' class: the same losses, AdamW, clipped gradients."""
    loss, model = experiment.loss, _diffusers_model(subject, experiment).train()
    perceptual = build_perceptual(loss.perceptual).to(subject.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = _images(experiment).to(subject.device)

    def step() -> None:
        with torch.autocast(subject.device, torch.bfloat16, enabled=subject.bf16):
            posterior = model.encode(images).latent_dist
            output = model.decode(posterior.sample()).sample
        output = output.float()
        error = l1(output, images) + loss.perceptual_weight * perceptual(output, images).mean()
        (error + loss.kl_weight * posterior.kl().mean()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _coder_pass(subject: Subject, experiment: Experiment) -> Callable[[], object]:
    side, coder = subject.side, experiment.model.coder
    latents = torch.randn(
        subject.batch, experiment.model.latent_channels, *[side // coder.downsampling_factor] * 2
    )
    images = _images(experiment)
    x = (images if subject.task == "encode" else latents).to(subject.device)
    if subject.implementation == "ours":
        ours = build_model(experiment.model).eval().to(subject.device)
        if subject.fast:
            make_fast(ours, torch.device(subject.device))
        for half in (ours.encoder, ours.decoder):
            if subject.bf16:
                half.to(torch.bfloat16)
            if subject.runtime == "compiled":
                half.compile()
        if subject.channels_last:
            ours.use_memory_format(torch.channels_last)
        call: Callable[[Tensor], object] = ours.encode if subject.task == "encode" else ours.decode
        return torch.no_grad()(lambda: call(x))
    network = _Pass(_diffusers_model(subject, experiment).eval(), subject.task)
    if subject.runtime == "openvino":
        return _openvino(network, x, subject.bf16)
    if subject.bf16:
        network, x = network.to(torch.bfloat16), x.bfloat16()
    if subject.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    if subject.runtime == "compiled":
        network.compile()
    return torch.no_grad()(lambda: network(x))


class _Pass(nn.Module):
    """One way through an AutoencoderKL, as a network of its own."""

    def __init__(self, autoencoder: Any, task: str) -> None:
        super().__init__()
        self.autoencoder, self.task = autoencoder, task

    def forward(self, x: Tensor) -> Tensor:
        if self.task == "encode":
            mean: Tensor = self.autoencoder.encode(x).latent_dist.mode()
            return mean
        images: Tensor = self.autoencoder.decode(x).sample
        return images


def _openvino(network: nn.Module, x: Tensor, bf16: bool) -> Callable[[], object]:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    with torch.no_grad():
        model = openvino.convert_model(network, example_input=x)
    compiled, array = openvino.Core().compile_model(model, "CPU", settings), x.numpy()
    return lambda: compiled(array)


def _diffusers_model(subject: Subject, experiment: Experiment) -> Any:
    from diffusers import AutoencoderKL

    settings = to_diffusers_config(experiment.model, LatentScaling(), subject.side)
    model = AutoencoderKL.from_config(settings)
    model = model.to(subject.device)
    return model.to(memory_format=torch.channels_last) if subject.channels_last else model


def _images(experiment: Experiment) -> Tensor:
    """Smooth random ones (B, 3, H, W) in [-1, 1]."""
    coarse = torch.rand(experiment.train.batch_size, 3, 8, 8) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=experiment.data.size, mode="bilinear")
