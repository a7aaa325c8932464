from __future__ import annotations

import datasets
import pytest

from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.images import BrokenImageError

BYTES, TEXT = datasets.Value("binary"), datasets.Value("string")


def test_the_only_image_column_is_found() -> None:
    features = datasets.Features({"label": TEXT, "photo": datasets.Image(), "raw": BYTES})
    assert find_image_column(features, None, "t") == "photo"
    assert find_image_column(features, "raw", "t") == "raw"
    assert find_image_column(datasets.Features({"label": TEXT, "raw": BYTES}), None, "t") == "raw"
    struct = datasets.Features({"im": {"bytes": BYTES, "path": TEXT}})
    assert find_image_column(struct, None, "t") == "im"


def test_candidates_are_named_where_the_choice_is_not_clear() -> None:
    two = datasets.Features({"a": datasets.Image(), "b": datasets.Image()})
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*data\.image_column"):
        find_image_column(two, None, "t")
    with pytest.raises(ValueError, match=r"data\.image_column=c.*\['a', 'b'\]"):
        find_image_column(two, "c", "t")
    with pytest.raises(ValueError, match=r"no image column.*\['label'\]"):
        find_image_column(datasets.Features({"label": TEXT}), None, "t")


def test_cells_of_every_kind_give_bytes() -> None:
    assert encoded_image(b"x") == b"x"
    assert encoded_image({"bytes": b"x", "path": "p"}) == b"x"
    for empty in (None, {"bytes": None, "path": None}, {"bytes": None}, "text"):
        with pytest.raises(BrokenImageError, match="no image in this row"):
            encoded_image(empty)
    with pytest.raises(BrokenImageError, match="a path instead of an image"):
        encoded_image({"bytes": None, "path": "p"})
