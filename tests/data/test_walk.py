from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ldm_ae.data.walk import is_hidden, walk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk(root).files]


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    touch(root / "a.png", root / "real" / "b.png", away / "c.png", away / "deep" / "d.png")
    (root / "first").symlink_to(away)
    (root / "second").symlink_to(away, target_is_directory=True)
    (root / "alias").symlink_to(root / "real")  # sorts before the folder that it leads to
    assert found(root) == ["a.png", "first/c.png", "first/deep/d.png", "real/b.png"]
    assert {path.name for path in walk(root).returning} == {"alias", "second"}


def test_a_linked_folder_within_another_counts_once(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    touch(root / "a.png", away / "c.png", away / "deep" / "d.png")
    (root / "inner").symlink_to(away / "deep")
    (root / "outer").symlink_to(away)
    assert found(root) == ["a.png", "inner/d.png", "outer/c.png"]


@pytest.mark.parametrize("target", [".", "..", "../..", "loop", "away"])
def test_loops_end(tmp_path: Path, target: str) -> None:
    root = tmp_path / "above" / "root"
    touch(root / "a.png", tmp_path / "above" / "sibling.png", root / "deep" / "b.png")
    touch(tmp_path / "elsewhere" / "c.png")
    (root / "deep" / "loop").symlink_to(target)
    (root / "deep" / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    assert [n for n in found(root) if "/away/" not in n and "/loop/" not in n] == [
        "a.png",
        "deep/b.png",
    ]
    assert sum(name.endswith("c.png") for name in found(root)) == 1
    assert not any("sibling" in name for name in found(root))


def test_links_to_files_are_files_and_links_to_nothing_are_told(tmp_path: Path) -> None:
    touch(tmp_path / "away.png", tmp_path / "root" / "a.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "away.png")
    (tmp_path / "root" / "void.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "root" / "pipe.png")
    assert found(tmp_path / "root") == ["a.png", "link.png"]
    (line,) = walk(tmp_path / "root").unread
    assert "void.png" in line


def test_hidden_and_system_names_are_passed_over(tmp_path: Path) -> None:
    kept = [tmp_path / ".cache" / "photos" / name for name in ("a.png", "sub/b.png", "_c.png")]
    touch(*kept)
    root = tmp_path / ".cache" / "photos"  # the user's own choice, hidden or not
    for name in (
        "._a.png",
        ".a.4711.png",  # as this package names what it has not finished
        ".ipynb_checkpoints/a-checkpoint.png",
        "@eaDir/a.png/SYNOPHOTO_THUMB_XL.png",
        "__MACOSX/._a.png",
        "__MACOSX/a.png",
        "sub/.thumbnails/b.png",
        "$RECYCLE.BIN/b.png",
        "#recycle/b.png",
        "lost+found/b.png",
    ):
        touch(root / name)
    assert walk(root).files == sorted(kept)
    assert is_hidden(".git")
    assert not is_hidden("eaDir")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    (tmp_path / os.fsdecode(b"\xff\xfe")).mkdir()
    (tmp_path / os.fsdecode(b"\xff\xfe/b.png")).touch()
    assert [os.fsencode(p.name) for p in walk(tmp_path).files] == [
        b"a.png",
        b"caf\xe9.png",
        b"b.png",
    ]
