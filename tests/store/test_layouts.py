import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from ldm_ae.errors import UserError
from ldm_ae.store.files_layout import FilesLayout
from ldm_ae.store.layouts import Layout, read_all
from ldm_ae.store.parquet_layout import ParquetLayout
from ldm_ae.store.rows import Row, to_bytes
from ldm_ae.store.tar_layout import TarLayout


def row(number: int, flipped: bool = False, dtype: str = "float16") -> Row:
    torch.manual_seed(number)
    latents = torch.randn(4, 6, 8)
    said = {"original": [64, 48], "crop": [0, 0, 64, 48], "flipped": flipped, "content": "mode"}
    key = f"a/{number}.png"
    return Row(
        id=key + "#flipped" * flipped,
        latents=to_bytes(latents, dtype),
        caption=None if number % 2 else f"über {number}",
        label="a",
        width=64,
        height=48,
        channel_mean=[0.25] * 4,
        channel_std=[1.0] * 4,
        source=key,
        source_sha256="0" * 64,
        model="1" * 64,
        protocol=json.dumps(said),
    )


ROWS = [row(number, flipped) for number in range(20) for flipped in (False, True)]


@pytest.mark.parametrize("layout", [ParquetLayout(), TarLayout(), FilesLayout()], ids=type)
def test_rows_come_back_in_order_and_at_random(layout: Layout, tmp_path: Path) -> None:
    files = layout.write(tmp_path, 3, ROWS)
    assert list(read_all(layout, tmp_path, files)) == ROWS
    assert {name: (tmp_path / name).stat().st_size for name in files} == files
    per_file = len(ROWS) // len(files)
    for number in (39, 0, 17):
        path = tmp_path / list(files)[number // per_file]
        assert layout.row(path, number % per_file) == ROWS[number]
    again = layout.write(tmp_path / "again", 3, ROWS)
    for name in files:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert files == again and layout.write(tmp_path, 4, []) == {}


@pytest.mark.parametrize("layout", [ParquetLayout(), TarLayout()], ids=type)
def test_a_shard_that_was_replaced_is_read_anew(layout: Layout, tmp_path: Path) -> None:
    (name,) = layout.write(tmp_path, 0, ROWS)
    assert layout.row(tmp_path / name, 1) == ROWS[1]
    layout.write(tmp_path, 0, ROWS[1:])
    assert layout.row(tmp_path / name, 1) == ROWS[2]


@pytest.mark.parametrize("layout", [ParquetLayout(), TarLayout(), FilesLayout()], ids=type)
def test_other_files_are_one_clear_error(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / f"other{layout.ending}"
    with pytest.raises(UserError, match="other"):
        list(layout.read(path))
    path.write_bytes(b"something else" * 100)
    with pytest.raises(UserError, match="other"):
        list(layout.read(path))


def test_a_tar_has_what_webdataset_pairs(tmp_path: Path) -> None:
    (name,) = TarLayout().write(tmp_path, 0, ROWS[:3])
    with tarfile.open(tmp_path / name) as tar:
        names = tar.getnames()
        assert tar.extractfile("000000.txt").read().decode() == "über 0"
        assert json.loads(tar.extractfile("000002.json").read())["id"] == "a/1.png"
    assert names[:4] == ["000000.json", "000000.safetensors", "000000.txt", "000000.cls"]
    assert "000002.txt" not in names


def test_a_file_has_the_name_and_keys_of_kohya_s_trainers(tmp_path: Path) -> None:
    rows = [row(0, dtype="bfloat16"), row(0, True, dtype="bfloat16")]
    assert list(FilesLayout("sdxl").write(tmp_path, 0, rows)) == ["a/0_0064x0048_sdxl.safetensors"]
    with safe_open(tmp_path / "a" / "0_0064x0048_sdxl.safetensors", framework="pt") as file:
        keys = {"latents_6x8_bfloat16", "latents_flipped_6x8_bfloat16"}
        assert set(file.keys()) == keys
        assert torch.equal(
            file.get_tensor("latents_6x8_bfloat16"), load(rows[0].latents)["latents"]
        )
        metadata = file.metadata()
    assert metadata["architecture"] == "sdxl" and metadata["crop_ltrb_6x8"] == "0,0,64,48"
    assert (metadata["width"], metadata["height"]) == ("64", "48")


def test_files_stay_within_the_store(tmp_path: Path) -> None:
    away = replace(ROWS[0], source="/photos/../x.png")
    assert list(FilesLayout().write(tmp_path, 0, [away])) == [
        "photos/x_0064x0048_ldm_ae.safetensors"
    ]
    with pytest.raises(UserError, match="architecture"):
        FilesLayout("../up")


def test_what_a_type_cannot_hold_is_refused() -> None:
    with pytest.raises(FloatingPointError, match="store them in bfloat16"):
        to_bytes(torch.full((1, 1, 1), 1e5), "float16")
    assert load(to_bytes(torch.full((1, 1, 1), 1e5), "bfloat16"))["latents"].isfinite().all()


def test_broken_latents_are_named() -> None:
    with pytest.raises(UserError, match="a/0.png: its latents cannot be read"):
        replace(ROWS[0], latents=b"broken").tensor()
