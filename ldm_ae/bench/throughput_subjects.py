"""What a throughput comparison times: one task of one implementation in one setting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal

Task = Literal["step", "encode", "decode"]
Runtime = Literal["eager", "compiled", "openvino"]


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
