from dataclasses import replace

import pytest
import torch

from ldm_ae.bench import throughput_timing
from ldm_ae.bench.throughput_subjects import coder_subjects, gpu_subjects, step_subjects
from ldm_ae.bench.throughput_timing import measure

SMALL = (
    "model.coder.channels=[8, 8]",
    "loss.perceptual={net: none}",
    "loss.perceptual_weight=0",
)


@pytest.mark.parametrize("task", ["step", "encode", "decode"])
def test_each_can_be_measured(task, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()

    class Squared(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - b).square()

    monkeypatch.setattr(throughput_timing, "build_perceptual", lambda _: Squared())
    subjects = step_subjects("kl_f8_small", 16, 1) + coder_subjects("kl_f8_small", 16)
    subjects += [replace(s, device="cpu") for s in gpu_subjects(task, "kl_f8_small", 16, 2)]
    for subject in subjects:
        chosen = subject.runtime == "eager" and subject.bf16 == subject.channels_last
        if subject.task == task and chosen:
            small = replace(subject, overrides=(*subject.overrides, *SMALL))
            assert min(measure(small, 0, None)) > 0
    torch.set_num_threads(threads)
