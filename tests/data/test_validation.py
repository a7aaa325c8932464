from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ldm_ae.data.config import DataConfig
from ldm_ae.data.opening import open_data
from ldm_ae.data.validation import validation_images


def test_fixed_images_in_a_fixed_order(tmp_path: Path, make: SimpleNamespace) -> None:
    make.folder(tmp_path, 8)
    config = DataConfig(path=str(tmp_path), size=16, validation_count=3)
    first, again = validation_images(open_data(config)), validation_images(open_data(config))
    assert [name for name, _ in first] == [name for name, _ in again]
    assert len(first) == 3
    for (_, left), (_, right) in zip(first, again, strict=True):
        assert left.shape == (3, 16, 16)
        assert left.dtype == torch.uint8
        assert torch.equal(left, right)


def test_streamed_hold_out_equals_the_table_s(tmp_path: Path, make: SimpleNamespace) -> None:
    make.shards(tmp_path / "p", [6, 5])
    pictures = [
        [
            image
            for _, image in validation_images(
                open_data(
                    DataConfig(
                        kind="parquet",
                        path=str(tmp_path / "p"),
                        size=16,
                        validation_count=4,
                        streaming=streaming,
                    )
                )
            )
        ]
        for streaming in (False, True)
    ]
    assert torch.equal(torch.stack(pictures[0]), torch.stack(pictures[1]))


def test_embedded_hold_out_and_none(tmp_path: Path, make: SimpleNamespace) -> None:
    data = open_data(DataConfig(kind="embedded", size=64))
    assert [name for name, _ in validation_images(data)] == ["chelsea.png", "coffee.png"]
    make.folder(tmp_path, 1)
    assert validation_images(open_data(DataConfig(path=str(tmp_path), validation_count=0))) == []


def test_unusable_images_are_named_and_left_out(
    tmp_path: Path, make: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    make.photo(0).save(tmp_path / "good.png")
    (tmp_path / "cut.jpg").write_bytes(make.truncated_jpeg())
    config = DataConfig(kind="embedded", validation_kind="folder", validation_path=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert [name for name, _ in validation_images(open_data(config))] == ["good.png"]
    assert "cut.jpg" in caplog.text
    (tmp_path / "good.png").unlink()
    with pytest.raises(ValueError, match=r"data\.validation_path"):
        validation_images(open_data(config))
