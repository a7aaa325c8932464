from __future__ import annotations

from typing import Any

import datasets
import pytest

from ldm_ae.data.columns import encoded_image, find_image_column
from ldm_ae.data.images import BrokenImageError

BYTES, TEXT = datasets.Value("binary"), datasets.Value("string")


def find(features: dict[str, Any], wanted: str | None = None) -> str:
    return find_image_column([("t", datasets.Features(features))], wanted)


def test_the_only_image_column_is_found() -> None:
    features = {"label": TEXT, "photo": datasets.Image(), "raw": BYTES}
    assert find(features) == "photo"
    assert find(features, "raw") == "raw"
    assert find({"label": TEXT, "raw": BYTES}) == "raw"
    assert find({"im": {"bytes": BYTES, "path": TEXT}}) == "im"
    assert find({"im": datasets.Value("large_binary")}) == "im"


def test_candidates_are_named_where_the_choice_is_not_clear() -> None:
    two = {"a": datasets.Image(), "b": datasets.Image()}
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*data\.image_column"):
        find(two)
    assert find(two, "b") == "b"  # what the message advises
    with pytest.raises(ValueError, match=r"data\.image_column=c.*\['a', 'b'\]"):
        find(two, "c")
    for column in (TEXT, [datasets.Image()]):
        with pytest.raises(ValueError, match=r"no column of encoded images.*'label'"):
            find({"label": column})


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"img": datasets.Image()}, r"second has no column image, the images of first.*\['img'\]"),
        ({"image": TEXT}, r"second: its column image holds no encoded images.*string"),
        ({"image": [datasets.Image()]}, r"second: its column image holds no encoded images"),
    ],
)
def test_the_table_that_differs_is_named(second: dict[str, Any], message: str) -> None:
    tables = [("first", {"image": datasets.Image()}), ("second", second)]
    with pytest.raises(ValueError, match=message):
        find_image_column([(name, datasets.Features(f)) for name, f in tables], None)


def test_tables_may_store_the_same_in_other_ways() -> None:
    empty = datasets.Value("null")  # of a table without any image
    kinds = (empty, BYTES, datasets.Image(), datasets.Value("large_binary"), {"bytes": BYTES})
    tables = [(str(i), datasets.Features({"im": kind, "x": empty})) for i, kind in enumerate(kinds)]
    assert find_image_column(tables, None) == "im"


def test_cells_of_every_kind_give_bytes() -> None:
    assert encoded_image(b"x") == b"x"
    assert encoded_image({"bytes": b"x", "path": "p"}) == b"x"
    for empty in (None, {"bytes": None, "path": None}, {"bytes": None}, "text"):
        with pytest.raises(BrokenImageError, match="no image in this row"):
            encoded_image(empty)
    with pytest.raises(BrokenImageError, match="a path instead of an image"):
        encoded_image({"bytes": None, "path": "p"})
