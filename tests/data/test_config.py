from __future__ import annotations

from typing import Any

import pytest

from ldm_ae.data.config import DataConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"data\.path is not set"),
        ({"kind": "hub"}, r"data\.name is not set"),
        ({"kind": "tar"}, r"data\.path is not set: data\.kind=tar"),
        ({"path": "x", "streaming": True}, r"data\.streaming=true with data\.kind=folder"),
        ({"kind": "hub", "name": "x", "validation_path": "y"}, r"data\.validation_path=y .*=hub"),
        ({"kind": "embedded", "path": "x"}, r"data\.path=x with data\.kind=embedded, which does"),
        ({"kind": "hub", "name": "x", "path": "y"}, r"data\.path=y with data\.kind=hub"),
        ({"path": "x", "subset": "y"}, r"data\.subset=y with data\.kind=folder"),
        ({"path": "x", "size": 0}, r"data\.size=0"),
        ({"path": "x", "num_workers": -1}, r"data\.num_workers=-1"),
        ({"path": "x", "min_scale": 0.0}, r"data\.min_scale=0\.0"),
        ({"path": "x", "min_scale": 1.5}, r"data\.min_scale=1\.5"),
        ({"path": "x", "min_side": 0}, r"data\.min_side=0"),
        ({"path": "x", "crop": "random", "size": 64, "min_side": 32}, r"data\.min_side=32"),
    ],
)
def test_each_bad_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_smallest_side_follows_the_crop() -> None:
    assert DataConfig(path="x", size=64, crop="random").smallest_side == 64
    assert DataConfig(path="x", size=64).smallest_side == 32
    assert DataConfig(path="x", size=64, min_side=50).smallest_side == 50
