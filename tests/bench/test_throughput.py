import pytest

from ldm_ae.bench import throughput
from ldm_ae.bench.throughput import compare
from ldm_ae.bench.throughput_subjects import Subject, coder_subjects


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
