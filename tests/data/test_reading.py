from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ldm_ae.data.bounds import Bounds
from ldm_ae.data.reading import Reader


def test_what_cannot_be_used_is_named_counted_and_left_out(
    tmp_path: Path, make: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    make.folder(tmp_path, 2)
    (tmp_path / "cut.jpg").write_bytes(make.truncated_jpeg())
    (tmp_path / "li\nne.png").write_bytes(b"")
    make.photo(0, 90, 90).save(tmp_path / "large.png")
    paths = sorted(tmp_path.rglob("*.*"))
    reader = Reader(bounds=Bounds(max_pixels=2000))
    for _ in range(2):  # a file counts once
        read = {path.name: pixels for path, pixels in reader.images(paths)}
    assert sorted(read) == ["photo000.png", "photo001.png"]
    assert np.array_equal(read["photo000.png"], np.asarray(make.photo(0)))
    assert {path.name for path in reader.broken} == {"cut.jpg", "li\nne.png", "large.png"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("left out: ") for line in lines)
    with pytest.raises(ValueError, match="3 of 5 images were left out"):
        reader.finish()


def test_further_frames_are_counted_in_one_line(
    tmp_path: Path, make: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("gif", "tif"):
        make.photo(0).save(tmp_path / f"a.{kind}", save_all=True, append_images=[make.photo(1)])
    make.photo(0).save(tmp_path / "b.png")
    reader = Reader(None)
    assert len(list(reader.images(sorted(tmp_path.iterdir())))) == 3
    reader.finish()
    assert capsys.readouterr().err == "of 2 files only the first frame or page was used\n"
