import tarfile
from itertools import islice
from typing import Any

import pytest
import torch

from ldm_ae.data import tars
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.train.loop import train
from ldm_ae.train.stages import Stage, require_growing, staged_batches

STAGES = (Stage(2, 8), Stage(3, 12))
PROGRESSIVE = "train.progressive=[{until_step: 2, size: 8}, {until_step: 3, size: 12}]"


@pytest.fixture
def loader(make_experiment) -> TrainLoader:
    return TrainLoader(open_data(make_experiment().data), batch_size=3, seed=1)


def test_sizes_grow_and_positions_go_on(loader: TrainLoader) -> None:
    batches = list(islice(staged_batches(loader, STAGES, 2, 0, 0), 8))
    assert [batch.images.shape[-1] for batch in batches] == [8] * 4 + [12] * 2 + [16] * 2
    plain = list(islice(loader.batches(), 8))
    for ours, theirs in zip(batches, plain, strict=True):
        assert torch.equal(ours.keys, theirs.keys) and ours.names == theirs.names
    assert torch.equal(batches[-1].images, plain[-1].images)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
def test_any_step_is_a_place_to_start(loader: TrainLoader, step: int) -> None:
    whole = list(islice(staged_batches(loader, STAGES, 1, 0, 0), 6))
    resumed = staged_batches(loader, STAGES, 1, step, step * 3)
    for expected, batch in zip(whole[step:], resumed, strict=False):
        assert torch.equal(expected.images, batch.images)
        assert torch.equal(expected.keys, batch.keys)


def test_without_stages_it_is_the_loader(loader: TrainLoader) -> None:
    ours, theirs = next(staged_batches(loader, (), 1, 5, 6)), next(loader.batches(6))
    assert torch.equal(ours.images, theirs.images)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage(2, 8), Stage(2, 12)), r"ends its stages at \[2, 2\]"),
        ((Stage(0, 8),), r"ends its stages at \[0\]"),
        ((Stage(2, 16),), r"sizes \[16\] before data.size=16"),
        ((Stage(2, 7),), r"sizes \[7\]: use multiples .* factor 2"),
    ],
)
def test_bad_stages_are_named(stages: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_growing(stages, 16, 2)


def test_stages_are_read_from_the_config_and_count_as_the_smallest_images(make_experiment) -> None:
    experiment = make_experiment(PROGRESSIVE)
    assert experiment.train.progressive == STAGES
    assert experiment.smallest_image == 8
    with pytest.raises(ValueError, match="8 after train.progressive .* use 12 or more"):
        make_experiment(PROGRESSIVE, "loss.adversarial={weight: 1.0, num_layers: 2}")


def test_shards_are_indexed_once_in_a_whole_run(make_experiment, photos, tmp_path, monkeypatch):
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as file:
        for path in sorted(photos.iterdir()):
            file.add(path, path.name)
    indexed: list[str] = []
    index = tars.index_tar

    def counted(path: str, *settings: Any) -> tars.TarShard:
        indexed.append(path)
        return index(path, *settings)

    monkeypatch.setattr(tars, "index_tar", counted)
    stages = "train.progressive=[{until_step: 1, size: 8}]"
    train(make_experiment("data.kind=tar", f"data.path={shard}", "train.steps=2", stages))
    assert indexed == [str(shard)]
