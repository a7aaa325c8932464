import os
from pathlib import Path

import pytest

from ldm_ae.files import printable, replacing


def test_a_file_appears_whole_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as aside:
        aside.write_text("new")
        assert not path.exists() and aside.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stands_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stem", ["x" * 251, "\N{SNOWMAN}" * 83], ids=["ascii", "utf-8"])
def test_the_longest_names_can_be_replaced(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.txt"
    with replacing(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_names_are_escaped_where_they_could_not_be_shown() -> None:
    assert printable("na\u00efve photo.png") == "na\u00efve photo.png"
    assert printable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"
    odd = os.fsdecode(b"caf\xe9.png")
    assert printable(odd).encode() == b"caf\\udce9.png"
