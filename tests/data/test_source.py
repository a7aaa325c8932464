from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ldm_ae.data.images import BrokenImageError
from ldm_ae.data.source import Names, Shard, Source, TrainingImages


@dataclass(frozen=True)
class Letters(Shard):
    """The least that a shard is; a space is a broken image."""

    text: str

    def __len__(self) -> int:
        return len(self.text)

    def name(self, row: int) -> str:
        return f"letter {self.text[row]}"

    def read(self, row: int) -> bytes:
        if self.text[row] == " ":
            raise BrokenImageError("a space")
        return self.text[row].encode()


SOURCE = Source("letters", (Letters("abc"), Letters(""), Letters("d"), Letters("efg")))


def test_rows_run_over_all_shards() -> None:
    assert len(SOURCE) == 7
    assert [SOURCE.item(row)[1] for row in range(7)] == [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]
    assert SOURCE.name(3) == "letter d"


@pytest.mark.parametrize("held_out", [[], [0], [2, 3], [6], [0, 1, 2, 3, 4, 5], [1, 4]])
def test_training_images_are_the_others_by_index_and_by_shard(held_out: list[int]) -> None:
    images = TrainingImages(SOURCE, np.array(held_out, dtype=np.int64))
    expected = [SOURCE.item(row) for row in range(7) if row not in held_out]
    assert [images.item(index) for index in range(len(images))] == expected
    assert [images.name(index) for index in range(len(images))] == [name for name, _ in expected]
    assert [item for shard in range(4) for item in images.items(shard, 0)] == expected
    for shard in range(4):
        whole = list(images.items(shard, 0))
        assert images.length(shard) == len(whole)
        assert all(list(images.items(shard, n)) == whole[n:] for n in range(len(whole) + 1))


def test_a_broken_image_is_an_item_that_says_why() -> None:
    (_, first), (name, reason) = Letters("a ").items(0)
    assert first == b"a"
    assert name == "letter  "
    assert isinstance(reason, BrokenImageError)


def test_names_come_back_one_by_one() -> None:
    texts = [b"a.png", b"", b"\xff.png", b"x" * 300]
    names = Names(iter(texts))
    assert list(names) == texts
    assert (len(names), names[2]) == (4, b"\xff.png")
    for index in (-1, 4):
        with pytest.raises(IndexError):
            names[index]
    assert list(Names([])) == []
