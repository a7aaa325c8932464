"""What a denoiser sees of a store, and which stores it cannot see."""

import itertools
import json
from pathlib import Path

import diffusers
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ldm_ae.data.images import to_uint8
from ldm_ae.diffusion.latents import MAX_CLASSES, LatentLoader, open_latents
from ldm_ae.diffusion.pipeline import make_pipeline
from ldm_ae.errors import UserError
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.settings import ModelChoice, Storage
from ldm_ae.store.views import Views


def opened(folder: Path, model: Path, names=None):
    return open_latents(LatentStore(folder), LatentEncoder(str(model)).facts, names)


def first(loader: LatentLoader, count: int, start: int = 0):
    return list(itertools.islice(loader.batches(start), count))


def test_decoding_a_scaled_latent_by_the_pipelines_vae_gives_the_picture(make_store, model) -> None:
    """Scaling is applied once, and undone by what DiTPipeline does; 0.5 twice or never, or a shift
    taken off, would be another picture."""
    latents = opened(make_store(), model)
    (batch,) = first(LatentLoader(latents, 8, seed=0), 1)
    autoencoder = LatentEncoder(str(model)).model
    denoiser = diffusers.DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, num_layers=1, sample_size=8, out_channels=4
    )
    pipeline = make_pipeline(denoiser, autoencoder, latents.names)
    with torch.no_grad():
        decoded = pipeline.vae.decode(batch.images / pipeline.vae.config.scaling_factor).sample
        for key, picture in zip(batch.names, decoded, strict=True):
            pixels = np.asarray(Image.open(model.parent / "pictures" / key))[:, 4:36]
            crop = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)
            image = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None] / 127.5 - 1
            expected = to_uint8(autoencoder.reconstruct(image))
            assert (to_uint8(picture[None]).int() - expected.int()).abs().max() <= 1


def test_every_latent_comes_once_an_epoch_with_its_class(make_store, model) -> None:
    loader = LatentLoader(opened(make_store(), model), 2, seed=0)
    batches = first(loader, 8)
    for epoch in (batches[:4], batches[4:]):
        assert len({name for batch in epoch for name in batch.names}) == 8
    for batch in batches:
        assert batch.images.shape == (2, 4, 8, 8)
        expected = [name.startswith("dog") for name in batch.names]
        assert batch.labels.tolist() == expected


def test_a_position_a_rank_and_workers_change_nothing(make_store, model) -> None:
    latents = opened(make_store(storage=Storage("moments", "float32")), model)
    whole = first(LatentLoader(latents, 4, seed=3), 3)
    (later,) = first(LatentLoader(latents, 4, seed=3, num_workers=1), 1, start=8)
    assert torch.equal(later.images, whole[2].images)
    ranks = [LatentLoader(latents, 2, seed=3, rank=rank, world_size=2) for rank in (0, 1)]
    halves = [first(loader, 1)[0] for loader in ranks]
    assert torch.equal(torch.cat([half.images for half in halves]), whole[0].images)


def test_moments_are_sampled(make_store, model) -> None:
    drawn = first(
        LatentLoader(opened(make_store(storage=Storage("moments", "float32")), model), 8, 0), 2
    )
    again = {name: x for name, x in zip(drawn[1].names, drawn[1].images, strict=True)}
    modes = {
        name: x
        for batch in first(LatentLoader(opened(make_store("mode"), model), 8, 0), 1)
        for name, x in zip(batch.names, batch.images, strict=True)
    }
    for name, x in zip(drawn[0].names, drawn[0].images, strict=True):
        assert not torch.equal(x, again[name])
        assert (x - modes[name]).abs().max() < 10  # within sight of its mode


def test_a_store_without_labels_is_one_class(make_store, model, pictures) -> None:
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        path.rename(pictures / f"{number}.png")
    latents = opened(make_store(), model)
    assert latents.names == ("image",)
    with pytest.raises(UserError, match="labels names 1 classes; .* has no labels"):
        opened(latents.store.folder, model, ["one"])
    assert first(LatentLoader(latents, 2, 0), 1)[0].labels.tolist() == [0, 0]


def test_names_may_stand_for_the_labels(make_store, model) -> None:
    folder = make_store()
    assert opened(folder, model).names == ("cat", "dog")
    assert opened(folder, model, ["Katze", "Hund"]).names == ("Katze", "Hund")
    for names in (["Katze"], ["Katze", "Katze"]):
        with pytest.raises(UserError, match=r"labels names 1 classes; .* has 2: cat, dog"):
            opened(folder, model, names)


def mixed(folder: Path, **cells: str) -> Path:
    """Shards without the store's own notes, as another engine leaves them; one row changed."""
    target = folder.with_name("mixed")
    target.mkdir()
    for number, path in enumerate(sorted(folder.glob("*.parquet"))):
        table = pq.read_table(path)
        for name, value in cells.items() if number == 1 else ():
            column = [value, *table[name].to_pylist()[1:]]
            place = table.column_names.index(name)
            table = table.set_column(place, table.schema.field(name), [column])
        pq.write_table(table, target / path.name)
    return target


def test_a_store_of_another_model_is_refused(make_store, model) -> None:
    folder = make_store()
    with pytest.raises(UserError, match="name the model that wrote the whole store"):
        opened(folder, Path("kl16"))
    with pytest.raises(UserError, match=r"holds latents of model .* and f00,"):
        opened(mixed(folder, model="f00"), model)


def test_a_store_of_modes_and_moments_is_refused(make_store, model) -> None:
    folder = make_store()
    said = LatentStore(folder).row(0).said | {"content": "moments"}
    with pytest.raises(UserError, match="holds mode and moments: a denoiser needs"):
        opened(mixed(folder, protocol=json.dumps(said)), model)


def test_labels_that_only_some_have_are_refused_or_passed_over(make_store, model) -> None:
    folder = mixed(make_store(), label=None)
    with pytest.raises(UserError, match=r"1 of 8 rows have no label, .* by labels=\[\]"):
        opened(folder, model)
    latents = opened(folder, model, [])
    assert latents.names == ("image",)
    assert not first(LatentLoader(latents, 8, 0), 1)[0].labels.any()


def test_what_no_denoiser_can_learn_is_refused(make_store, model, pictures, monkeypatch) -> None:
    golden = Path(__file__).parents[1] / "codec" / "golden"
    indices = make_store("indices", model=ModelChoice(golden / "vq_v1"))
    with pytest.raises(UserError, match="holds indices: a denoiser needs latents of a KL model"):
        opened(indices, golden / "vq_v1")
    Image.new("RGB", (80, 32)).save(pictures / "cat" / "wide.png")
    buckets = make_store("buckets", views=Views("buckets", 16, bucket_step=8))
    with pytest.raises(UserError, match="encode squares of one size"):
        opened(buckets, model)
    monkeypatch.setattr("ldm_ae.diffusion.latents.MAX_CLASSES", 1)
    with pytest.raises(UserError, match="has 2 labels; DiTPipeline takes 1 at most"):
        opened(make_store(), model)
    assert MAX_CLASSES == 1000
    with pytest.raises(UserError, match="holds no latents"):
        LatentStore(pictures)
