from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ldm_ae.bench import tiling
from ldm_ae.bench.tiling import WAYS, Subject, measure, measure_all

GOLDEN = str(Path(__file__).parents[1] / "codec" / "golden" / "kl_v1")

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak"
)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("task", ["encode", "decode"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_measured(task, way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "_SAMPLE_SIZE", 16)  # several tiles
    row = measure(Subject(task, GOLDEN, 64, way, "embedded", "100MB", calls=1))
    assert row["seconds"] >= 0 and row["resident_mib"] > row["call_mib"] >= 0
    assert ("levels" in row) == (task == "decode")
    tiled = way == "diffusers tiled"
    assert (row["max_error"] > 1e-2) == tiled, "tiles shift colours, all else is equal"


def test_ratios_are_over_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, *_, **__) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *_) -> None: ...
        def submit(self, _measure, subject: Subject):
            seconds = {"whole": 4.0, "strips": 2.0}[subject.way]
            row = {"seconds": seconds + (subject.task == "encode")}
            return type("Future", (), {"result": lambda self: row})()

    monkeypatch.setattr(tiling, "ProcessPoolExecutor", Pool)
    subjects = [
        Subject(task, "kl16", side, way, "embedded", "1GB")
        for task, side, way in (
            ("decode", 64, "whole"),
            ("decode", 64, "strips"),
            ("encode", 64, "strips"),
            ("decode", 128, "strips"),
        )
    ]
    assert [row["ratio"] for row in measure_all(subjects)] == [1, 0.5, None, None]


def test_a_config_gives_random_weights_and_a_photo_fills_the_side() -> None:
    model = tiling.open_model("kl_f8_small")
    assert model.latent_channels == 4 and not model.training
    photo = tiling._photo(Subject("encode", "kl16", 900, "whole", "embedded", "1GB"))
    assert photo.shape == (1, 3, 900, 900)
