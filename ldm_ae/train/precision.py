"""Which precision a run computes in: what its config says, what it began with, or what is fast."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldm_ae.distributed import from_first_rank
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.threads import using_threads
from ldm_ae.train.config import Experiment
from ldm_ae.train.settling import saved_setting

# The operations of one timed convolution, forward and backward: a first look, then properly. Where
# bf16 is emulated, the second would take seconds each.
_LOOK, _PROPER = 50e6, 2e9
_HOPELESS = 2.0  # a ratio at the first look that needs no second
_SECONDS = 1.0
_REPETITIONS = 4  # the first warms up
_LOOKS = 6  # the whole run goes by them where there is no second look


def settle_precision(experiment: Experiment, checkpoint: Path | None) -> tuple[Experiment, str]:
    """The experiment with a precision that is not `auto`, the same on every rank, all of which
    must call it; and a line for the log, empty where the config decided and nothing speaks
    against it.

    checkpoint: where the run goes on, if it does: `auto` then keeps what its config.yaml says.
    """
    asked = experiment.train.precision
    began_with = saved_setting(checkpoint, "precision") if asked == "auto" else None
    if began_with is not None:
        settled, note = began_with, f"precision {began_with}, as the run began"
    elif torch.cuda.is_available() and experiment.train.device != "cpu":
        settled, note = _on_gpu(asked)
    elif asked in ("auto", "bf16"):
        settled, note = from_first_rank(lambda: _on_cpu(experiment))
    else:
        settled, note = asked, ""
    train = replace(experiment.train, precision=settled)  # type: ignore[arg-type]
    return replace(experiment, train=train), note


def _on_gpu(asked: str) -> tuple[str, str]:
    if asked != "auto":
        return asked, ""
    found = precision_of_gpu()
    why = "which this GPU has" if found == "bf16" else "since this GPU has no bf16"
    return found, f"precision {found}, {why}"


def precision_of_gpu() -> str:
    """What `auto` is there."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _on_cpu(experiment: Experiment) -> tuple[str, str]:
    """asked is `auto` or `bf16`."""
    ratio = bf16_ratio(experiment)
    found = f"bf16 takes {ratio:.2f} times as long as fp32 in this model's convolutions here"
    if experiment.train.precision == "auto":
        settled = "bf16" if ratio < 1 else "fp32"
        return settled, f"precision {settled}: {found}"
    slow = f"warning: {found}; train.precision=auto or fp32 would be faster"
    return "bf16", slow if ratio > 1 else ""


@dataclass(frozen=True)
class _Convolution:
    """One of the model's and the size (B, C, H, W) that it sees."""

    layer: tuple[Any, ...]  # what nn.Conv2d is made of
    size: tuple[int, ...]
    operations: int  # of a forward and a backward pass

    def time(self, operations: float, repetitions: int) -> tuple[float, float]:
        """Seconds of a whole pass in fp32 and in bf16, from one of about so many operations: what
        it sees is cut down to them, the batch first."""
        size = list(self.size)
        for dimension, least in ((0, 1), (2, 8), (3, 8)):
            while self.operations * self._share(size) > operations and size[dimension] > least:
                size[dimension] //= 2
        layer, images = nn.Conv2d(*self.layer), torch.rand(size)
        best = [float("inf"), float("inf")]
        for _ in range(repetitions):  # in turn: what slows the machine for a while slows both
            best = [min(best[i], _seconds(layer, images, bf16=bool(i))) for i in (0, 1)]
        return best[0] / self._share(size), best[1] / self._share(size)

    def _share(self, size: list[int]) -> float:
        return math.prod(size) / math.prod(self.size)


def _seconds(layer: nn.Conv2d, images: Tensor, bf16: bool) -> float:
    """Of the processor, not of the clock: what else the machine does must not count."""
    images = images.to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = layer(images)
    output.backward(output.detach())
    return time.process_time() - started


def bf16_ratio(experiment: Experiment) -> float:
    """Time in bf16 over time in fp32 of the model's convolutions, forward and backward, at the
    config's crop and batch, on one thread of this CPU. Takes about a second.

    Convolutions count by how often the model has them; the heaviest are timed first.
    """
    sizes = _convolutions(experiment)
    heaviest = sorted(sizes, key=lambda found: -found.operations * sizes[found])
    with using_threads(1):
        fp32, bf16 = heaviest[0].time(_LOOK, _LOOKS)
        if bf16 > _HOPELESS * fp32:
            return bf16 / fp32
        return _ratio(heaviest, sizes)


def _ratio(heaviest: list[_Convolution], counts: Counter[_Convolution]) -> float:
    started, fp32, bf16 = time.process_time(), 0.0, 0.0
    for convolution in heaviest:
        once = convolution.time(_PROPER, _REPETITIONS)
        fp32 += counts[convolution] * once[0]
        bf16 += counts[convolution] * once[1]
        if time.process_time() - started > _SECONDS:
            break
    return bf16 / fp32


def _convolutions(experiment: Experiment) -> Counter[_Convolution]:
    """The encoder's and the decoder's, each with how often it occurs."""
    found: Counter[_Convolution] = Counter()

    def note(layer: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        shape = (
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
        )
        operations = 6 * output.numel() * layer.weight[0].numel()
        found[_Convolution(shape, tuple(inputs[0].shape), operations)] += 1

    with torch.device("meta"), torch.no_grad():
        model: Autoencoder = build_model(experiment.model)
        layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        for layer in layers:
            layer.register_forward_hook(note)
        batch, side = experiment.train.batch_size, experiment.data.size
        features = model.encoder(torch.empty(batch, model.image_channels, side, side))
        inner = model.decoder.conv_in.in_channels
        model.decoder(torch.empty(batch, inner, *features.shape[2:]))
    return found
