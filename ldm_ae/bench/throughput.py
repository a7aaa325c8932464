"""Time of a training step, of encoding and of decoding: ours beside diffusers', on a CPU or a GPU.

Each measurement has a process of its own, in turn: what one leaves behind (kernels, memory that is
kept, a precision) does not touch another, and what slows the machine for a while slows all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ldm_ae import config
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

Task = Literal["step", "encode", "decode"]
Runtime = Literal["eager", "compiled", "openvino"]

# L1, LPIPS and KL, whatever the config's recipe: what a plain loop has.
_LOSS = "loss={perceptual: {net: squeeze}, perceptual_weight: 2}"


@dataclass(frozen=True)
class Subject:
    """task: what is timed, of the model of a config. side, batch: of the images. fast: our kernels.
    runtime: what an encoder or decoder runs in. overrides: of the config, for ours."""

    task: Task
    implementation: Literal["ours", "diffusers"]
    model: str
    side: int
    batch: int
    bf16: bool = False
    channels_last: bool = False
    fast: bool = False
    runtime: Runtime = "eager"
    overrides: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def name(self) -> str:
        parts = [self.implementation, "bf16" if self.bf16 else ""]
        parts += ["channels-last" if self.channels_last else "", "fast" if self.fast else ""]
        parts.append("" if self.runtime == "eager" else self.runtime)
        return " ".join(filter(None, (*parts, *self.overrides)))


def step_subjects(model: str, side: int, batch: int) -> list[Subject]:
    """One model's training step: diffusers' plain loop in four settings, ours in four."""
    plain = [
        Subject("step", "diffusers", model, side, batch, bf16=bf16, channels_last=last)
        for bf16 in (False, True)
        for last in (False, True)
    ]
    ours = [
        Subject("step", "ours", model, side, batch, bf16=True, fast=fast, overrides=(optimizer,))
        for fast in (False, True)
        for optimizer in ("train.optimizer=adamw", "train.optimizer=muon")
    ]
    return [*plain, *ours]


def coder_subjects(model: str, side: int) -> list[Subject]:
    """Encoding and decoding of one image: as called, and in diffusers' better settings, through
    torch.compile and, where it is installed, OpenVINO."""
    tasks: tuple[Task, ...] = ("encode", "decode")
    found: list[Subject] = []
    for task in tasks:
        for bf16 in (False, True):
            for last in (False, True):
                theirs = Subject(task, "diffusers", model, side, 1, bf16=bf16, channels_last=last)
                found += [theirs, replace(theirs, runtime="compiled")]
            if find_spec("openvino") is not None:
                plain = Subject(task, "diffusers", model, side, 1, bf16=bf16)
                found.append(replace(plain, runtime="openvino"))
        found += [Subject(task, "ours", model, side, 1, fast=fast) for fast in (False, True)]
    return found


def gpu_subjects(task: Task, model: str, side: int, batch: int) -> list[Subject]:
    """One task on a CUDA device: diffusers as called first, then what may be better, and ours."""
    plain = Subject(task, "diffusers", model, side, batch, device="cuda")
    found = [plain]
    runtimes: tuple[Runtime, ...] = ("eager",) if task == "step" else ("eager", "compiled")
    for last in (False, True):
        for runtime in runtimes:
            half = replace(plain, bf16=True, channels_last=last, runtime=runtime)
            found += [half, replace(half, implementation="ours")]
    if task == "step":  # ours chooses its layout by itself
        found = [s for s in found if s.implementation == "diffusers" or not s.channels_last]
        return [*found, replace(plain, implementation="ours", bf16=True, fast=True)]
    return [*found, replace(plain, implementation="ours", fast=True)]


def compare(
    subjects: list[Subject], rounds: int, seconds: float, weights: str | None
) -> list[dict[str, Any]]:
    """A row for each subject: `milliseconds`, the least of all calls, on a CPU of processor time;
    `first_seconds` of the first one, which compiles and warms up; `speed_up`: over diffusers as
    called; `over_best`: over diffusers' best setting."""
    taken: dict[Subject, list[tuple[float, float]]] = {subject: [] for subject in subjects}
    # A process for each task: no state outlives one.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(rounds):
            for subject in subjects:
                taken[subject].append(pool.submit(measure, subject, seconds, weights).result())
    rows = []
    for subject, times in taken.items():
        others = {
            other: min(taken[other])[0]
            for other in subjects
            if other.implementation == "diffusers" and _same_task(other, subject)
        }
        as_called = next(iter(others.values()))
        least, first = min(times)
        rows.append(
            {"name": subject.name}
            | asdict(subject)
            | {"milliseconds": 1e3 * least, "images_per_second": subject.batch / least}
            | {"first_seconds": first, "speed_up": as_called / least}
            | {"over_best": min(others.values()) / least}
        )
    return rows


def _same_task(a: Subject, b: Subject) -> bool:
    return (a.task, a.model, a.side, a.batch) == (b.task, b.model, b.side, b.batch)


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
