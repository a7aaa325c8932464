from dataclasses import replace

from ldm_ae.bench.throughput_subjects import (
    Subject,
    coder_subjects,
    gpu_subjects,
    step_subjects,
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
