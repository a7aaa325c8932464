from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import ldm_ae
from ldm_ae.errors import UserError
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.run import encode_dataset
from ldm_ae.store.settings import Storage

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


def test_every_layout_gives_the_same_items(layout: str, make_job, tmp_path: Path) -> None:
    encode_dataset(make_job(layout=layout), tmp_path / "out", threads=1)
    store = LatentStore(tmp_path / "out")
    batches = list(DataLoader(store, batch_size=4, collate_fn=list))
    assert [len(batch) for batch in batches] == [4, 4]
    item = store[6]
    assert item["latents"].shape == (4, 8, 8) and item["latents"].dtype == torch.float32
    assert {**item, "latents": None} == {
        "latents": None,
        "id": "dog/6.png",
        "caption": None,
        "label": "dog",
        "width": 16,
        "height": 16,
    }
    assert store.labels == ["cat", "dog"]
    for number in (-1, 8):
        with pytest.raises(IndexError):
            store[number]


def test_moments_are_sampled(make_job, tmp_path: Path) -> None:
    encode_dataset(make_job(storage=Storage("moments", "float32")), tmp_path / "out", threads=1)
    mode, sampled = (LatentStore(tmp_path / "out", sample=sample) for sample in (False, True))
    row = mode.row(2)
    mean, logvar = row.tensor().chunk(2)
    assert torch.equal(mode[2]["latents"], mean)
    draws = torch.stack([sampled.latents(row) for _ in range(100)])
    std = torch.exp(0.5 * logvar)
    assert float(((draws.mean(0) - mean) / std).abs().max()) < 0.6
    assert float((draws.std(0) / std - 1).abs().max()) < 0.6


def test_scaled_latents_are_what_a_pipeline_sees(make_job, tmp_path: Path) -> None:
    encode_dataset(make_job(), tmp_path / "out", threads=1)
    row = LatentStore(tmp_path / "out").row(0)
    said = row.said | {"scaling_factor": 0.5, "shift_factor": 2.0}
    row.__dict__["said"] = said
    plain, scaled = (LatentStore(tmp_path / "out", scaled=s).latents(row) for s in (False, True))
    torch.testing.assert_close(scaled, (plain - 2.0) * 0.5)


def test_coded_and_indices(make_job, tmp_path: Path) -> None:
    encode_dataset(make_job(storage=Storage("coded", quality=60)), tmp_path / "coded", threads=1)
    encode_dataset(make_job(), tmp_path / "mode", threads=1)
    coded = LatentStore(tmp_path / "coded", codec=GOLDEN / "kl_v1")
    mode = LatentStore(tmp_path / "mode")
    for number in range(8):
        wanted, found = mode[number]["latents"], coded[number]["latents"]
        assert float((found - wanted).abs().max()) < 0.2 * float(wanted.std())
    with pytest.raises(UserError, match="was written with model"):
        LatentStore(tmp_path / "coded", codec=ldm_ae.load_codec())[0]
    encode_dataset(make_job("vq_v1"), tmp_path / "vq", threads=1)
    assert LatentStore(tmp_path / "vq")[0]["latents"].dtype == torch.int64


def test_what_is_no_store(make_job, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no latents"):
        LatentStore(tmp_path)
    encode_dataset(make_job(), tmp_path / "out", threads=1)
    with pytest.raises(UserError, match="encode with --latents moments"):
        LatentStore(tmp_path / "out", sample=True)
