from dataclasses import replace

import pytest
import torch

from ldm_ae.bench import throughput
from ldm_ae.bench.throughput import (
    Subject,
    coder_subjects,
    compare,
    gpu_subjects,
    measure,
    step_subjects,
)

SMALL = (
    "model.coder.channels=[8, 8]",
    "loss.perceptual={net: none}",
    "loss.perceptual_weight=0",
)


def test_every_task_has_both_and_diffusers_as_called_first() -> None:
    on_gpu = [gpu_subjects(task, "kl_f8", 256, 1) for task in ("step", "encode", "decode")]
    for subjects in (step_subjects("kl_f8_small", 128, 8), coder_subjects("kl_f8", 256), *on_gpu):
        assert {subject.implementation for subject in subjects} == {"ours", "diffusers"}
        first = replace(subjects[0], device="cpu")
        assert first == Subject(first.task, "diffusers", *_rest(first))
        assert len(set(subjects)) == len(subjects) == len({(s.task, s.name) for s in subjects})


def _rest(subject: Subject) -> tuple[str, int, int]:
    return subject.model, subject.side, subject.batch


@pytest.mark.parametrize("task", ["step", "encode", "decode"])
def test_each_can_be_measured(task, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()

    class Squared(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - b).square()

    monkeypatch.setattr(throughput, "build_perceptual", lambda _: Squared())
    subjects = step_subjects("kl_f8_small", 16, 1) + coder_subjects("kl_f8_small", 16)
    subjects += [replace(s, device="cpu") for s in gpu_subjects(task, "kl_f8_small", 16, 2)]
    for subject in subjects:
        chosen = subject.runtime == "eager" and subject.bf16 == subject.channels_last
        if subject.task == task and chosen:
            small = replace(subject, overrides=(*subject.overrides, *SMALL))
            assert min(measure(small, 0, None)) > 0
    torch.set_num_threads(threads)


def test_ratios_are_over_diffusers_as_called_and_at_its_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pool:
        def __init__(self, *_, **__) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_) -> None: ...
        def submit(self, _measure, subject: Subject, *_):
            seconds = {"diffusers": 8.0, "diffusers bf16": 4.0, "ours fast": 2.0}
            taken = (seconds.get(subject.name, 9.0), 11.0)
            return type("Future", (), {"result": lambda self: taken})()

    monkeypatch.setattr(throughput, "ProcessPoolExecutor", Pool)
    rows = compare(coder_subjects("kl_f8", 256), 2, 0, None)
    (ours, _) = [row for row in rows if row["name"] == "ours fast"]
    assert (ours["milliseconds"], ours["speed_up"], ours["over_best"]) == (2000, 4, 2)
    assert ours["first_seconds"] == 11
