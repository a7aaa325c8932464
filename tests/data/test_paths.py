from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from ldm_ae.data import paths
from ldm_ae.data.paths import expand_braces, find_images, open_binary, shard_paths


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a{8..10}", ["a8", "a9", "a10"]),
        ("a{08..10}b", ["a08b", "a09b", "a10b"]),
        ("{x,yy}/{0..1}", ["x/0", "x/1", "yy/0", "yy/1"]),
        ("s{,t}", ["s", "st"]),
    ],
)
def test_braces_expand_as_in_a_shell(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize("pattern", ["a{5..3}", "a{b}", "a{}"])
def test_braces_of_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"data\.path=a.*neither a range"):
        expand_braces(pattern)


def test_every_shard_comes_once_and_must_exist(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "deep/c.tar", "d.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        paths = shard_paths(str(tmp_path / pattern), ".tar")
        return [Path(p).relative_to(tmp_path).as_posix() for p in paths]

    assert found(".") == ["a.tar", "b.tar", "deep/c.tar"]
    assert found("*.tar") == ["a.tar", "b.tar"]
    assert found("{a,b,*}.tar") == ["a.tar", "b.tar"]
    assert found("**/*.tar") == ["a.tar", "b.tar", "deep/c.tar"]
    assert found("d.bin") == ["d.bin"]
    (tmp_path / "{x}.tar").touch()
    assert found("{x}.tar") == ["{x}.tar"]
    with pytest.raises(ValueError, match=r"data\.path=.*z\.tar: no such"):
        found("{a,z}.tar")


def test_urls_are_left_to_fsspec() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/urls/0.tar": b"zero", "/urls/1.tar": b"one"})
    assert shard_paths("memory://urls/{0..1}.tar", ".tar") == [
        "memory://urls/0.tar",
        "memory://urls/1.tar",
    ]
    globbed = shard_paths("memory://urls/*.tar", ".tar")
    contents = []
    for path in globbed:
        with open_binary(path) as file:
            contents.append(file.read())
    assert contents == [b"zero", b"one"]
    with pytest.raises(ValueError, match=r"none\*\.tar: no such"):
        shard_paths("memory://urls/none*.tar", ".tar")
    memory.rm("/urls", recursive=True)


def test_images_are_found_in_any_layout(tmp_path: Path) -> None:
    for name in ("b.png", "a/C.JPEG", "a/.hidden.png", "notes.txt", "a/x.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == [
        "a/C.JPEG",
        "b.png",
    ]
    with pytest.raises(ValueError, match=r"--images=.*gone: no such folder"):
        find_images(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"data\.path=.*b\.png is a file"):
        find_images(tmp_path / "b.png", "data.path")


def test_pictures_that_are_not_read_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.CR2", "c.cr2", "deep/d.psd", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    find_images(tmp_path)
    (record,) = caplog.records
    assert "left out 2 .cr2, 1 .psd" in record.message
    with pytest.raises(ValueError, match=r"deep holds no image files.*; it holds 1 \.psd"):
        find_images(tmp_path / "deep")


def test_the_first_process_alone_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.psd"):
        (tmp_path / name).touch()
    monkeypatch.setattr(paths, "world", lambda: (1, 2))
    find_images(tmp_path)
    assert caplog.records == []
