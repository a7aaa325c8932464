from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from ldm_ae.data import tars
from ldm_ae.data.config import DataConfig
from ldm_ae.data.images import BrokenImageError, load_image
from ldm_ae.data.loaders import TrainLoader
from ldm_ae.data.opening import open_data
from ldm_ae.data.paths import shard_paths
from ldm_ae.data.tars import index_tar, open_tars


def names(shard: tars.TarShard) -> list[str]:
    return [name.decode() for name in shard.names]


def test_samples_are_grouped_and_other_members_ignored(
    tmp_path: Path, make: SimpleNamespace
) -> None:
    members = [
        ("./a/0.cls", b"1"),
        ("./a/0.JPG", b"image 0"),
        ("b/0.png", b"image 1"),
        ("b/._0.png", b"a Mac's notes"),
        ("b/notes", b"no extension"),
        ("b/0.json", b"{}"),
        ("b/weit-\N{LATIN SMALL LETTER O WITH DIAERESIS}" + "x" * 200 + ".webp", b"image 2"),
        ("b/0.png", b"image 1 again"),
    ]
    path = make.tar(tmp_path / "s.tar", members)
    with tarfile.open(path, "a") as file:
        for name, kind in (("folder.png", tarfile.DIRTYPE), ("link.png", tarfile.SYMTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            file.addfile(header)
    shard = index_tar(str(path))
    assert names(shard) == ["./a/0.JPG", "b/0.png", members[6][0]]
    expected = [b"image 0", b"image 1 again", b"image 2"]
    assert [shard.read(row) for row in range(3)] == expected
    for start in range(4):
        assert [data for _, data in shard.items(start)] == expected[start:]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(tmp_path: Path, form: int) -> None:
    long = "d/" * 60 + "1.png"
    with tarfile.open(tmp_path / "s.tar", "w", format=form) as file:
        for name, payload in (("0.png", b"zero"), (long, b"one" * 999)):
            header = tarfile.TarInfo(name)
            header.size = len(payload)
            file.addfile(header, io.BytesIO(payload))
    shard = index_tar(str(tmp_path / "s.tar"))
    assert names(shard) == ["0.png", long]
    assert shard.read(1) == b"one" * 999


@pytest.mark.parametrize("order", [1, -1])
def test_several_images_of_a_sample_need_a_choice(
    tmp_path: Path, make: SimpleNamespace, order: int
) -> None:
    members = [("0.jpg", b"photo"), ("0.seg.png", b"mask")][::order]
    path = str(make.tar(tmp_path / "s.tar", members))
    with pytest.raises(ValueError, match=r"sample 0 has .*whichever is to be trained on") as error:
        index_tar(path)
    assert "*." not in str(error.value)
    advised = set(re.findall(r"data\.image_column=(\S+?),? ", str(error.value) + " "))
    assert advised == {"jpg", "seg.png"}
    assert {index_tar(path, column).read(0) for column in advised} == {b"photo", b"mask"}
    assert index_tar(path, "jpg").read(0) == b"photo"
    assert index_tar(path, "SEG.PNG").read(0) == b"mask"
    with pytest.raises(ValueError, match=r"holds no images: .*webp.*has \.jpg, \.seg\.png$"):
        open_tars([path], "s.tar", "webp", "data.path")


class Counting(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_the_index_reads_headers_alone(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.tar(tmp_path / "s.tar", [(f"{i}.png", bytes(500_000)) for i in range(4)])
    file = Counting(path.read_bytes())
    monkeypatch.setattr(tars, "open_binary", lambda _: file)
    assert len(index_tar("s.tar")) == 4
    assert file.taken < 4 * 2048


def damaged(kind: str, whole: bytes) -> bytes:
    match kind:
        case "empty":
            return b""
        case "cut within a payload":
            return whole[:1500]
        case "cut within a header":
            return whole[: 2 * 512 + 4 * 512 + 100]
        case "cut within the last payload":
            return whole[: whole.rindex(b"Z") + 1 - 100]
        case "second header overwritten":
            at = 512 + 4 * 512  # the payload of 2,000 bytes takes four blocks
            return whole[:at] + b"x" * 512 + whole[at + 512 :]
        case "compressed":
            return gzip.compress(whole)
        case "size of a terabyte":
            header = tarfile.TarInfo("0.png")
            header.size = 2**40
            return header.tobuf(tarfile.GNU_FORMAT) + whole[512:]
        case "long name of two megabytes":
            header = tarfile.TarInfo("././@LongLink")
            header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**21
            return header.tobuf(tarfile.GNU_FORMAT) + bytes(2**21) + whole
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "cut within a payload",
        "cut within a header",
        "cut within the last payload",
        "second header overwritten",
        "compressed",
        "size of a terabyte",
        "long name of two megabytes",
    ],
)
def test_a_damaged_shard_is_named(tmp_path: Path, make: SimpleNamespace, kind: str) -> None:
    members = [(f"{i}.png", b"Z" * 2000) for i in range(3)]
    whole = make.tar(tmp_path / "whole.tar", members).read_bytes()
    (tmp_path / "bad.tar").write_bytes(damaged(kind, whole))
    with pytest.raises(ValueError, match=r"bad\.tar cannot be read as an uncompressed tar"):
        open_tars([str(tmp_path / n) for n in ("whole.tar", "bad.tar")], "both", None, "data.path")


def test_a_tar_without_its_end_blocks_is_whole(tmp_path: Path, make: SimpleNamespace) -> None:
    whole = make.tar(tmp_path / "s.tar", [("0.png", b"Z" * 512)]).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[:1024])
    assert index_tar(str(tmp_path / "s.tar")).read(0) == b"Z" * 512


def test_members_that_cannot_be_read_are_broken_images(
    tmp_path: Path, make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make.tar(tmp_path / "s.tar", [("0.png", b"Z" * 600), ("1.png", b"Z" * 99)])
    shard = index_tar(str(path), max_bytes=500)
    assert len(index_tar(str(path)).read(0)) == 600
    with pytest.raises(BrokenImageError, match="600 bytes is more than 500"):
        shard.read(0)
    path.write_bytes(path.read_bytes()[: int(shard.offsets[1]) + 50])  # cut after the index
    with pytest.raises(BrokenImageError, match="50 of 99 bytes"):
        shard.read(1)
    kinds = [type(data) for _, data in shard.items(0)]
    assert kinds == [BrokenImageError, BrokenImageError]


@pytest.mark.parametrize("streaming", [False, True])
def test_broken_images_are_replaced_and_named(
    tmp_path: Path, make: SimpleNamespace, streaming: bool
) -> None:
    good = [(f"{i}.png", make.encoded(make.photo(i))) for i in range(6)]
    bad = [("cut.jpg", make.truncated_jpeg()), ("void.png", b"")]
    make.tar(tmp_path / "s.tar", good[:3] + bad + good[3:])
    settings: dict[str, Any] = {"size": 16, "num_workers": 0, "validation_count": 0}
    config = DataConfig(kind="tar", path=str(tmp_path), streaming=streaming, **settings)
    batch = next(TrainLoader(open_data(config), 8, seed=0).batches())
    assert len(batch.names) == 8
    skipped = {line.split(": ")[0].split()[-1] for line in batch.skipped}
    assert skipped == {"cut.jpg", "void.png"}
    assert not {"cut.jpg", "void.png"} & {name.split()[-1] for name in batch.names}


def test_urls_are_read_by_fsspec(tmp_path: Path, make: SimpleNamespace) -> None:
    make.tars(tmp_path, [3])
    memory = fsspec.filesystem("memory")
    memory.pipe("/tars/0.tar", (tmp_path / "part-0.tar").read_bytes())
    shard = index_tar("memory://tars/0.tar")
    assert (load_image(shard.read(2)) == load_image(make.photo(2))).all()
    memory.rm("/tars", recursive=True)


@pytest.mark.parametrize("name", ["img_v1.{:04d}.jpg", "2024.05.{:02d}.JPG"])
def test_dots_in_names_lead_to_all_pictures(
    tmp_path: Path, make: SimpleNamespace, name: str
) -> None:
    members = [(name.format(i), b"%d" % i) for i in range(10)]
    members.insert(3, ("img_v1.0003.json", b"{}"))
    path = str(make.tar(tmp_path / "s.tar", members))
    with pytest.raises(ValueError, match="each is a sample of its own") as error:
        index_tar(path)
    advised = str(error.value).rpartition("data.image_column=")[2]
    assert advised == "*.jpg"
    shard = index_tar(path, advised)
    assert [shard.read(row) for row in range(len(shard))] == [b"%d" % i for i in range(10)]


def test_hidden_members_are_passed_over(tmp_path: Path, make: SimpleNamespace) -> None:
    hidden = ["__MACOSX/0.png", "a/.ipynb_checkpoints/0.png", "a/@eaDir/0.png", "a/._0.png"]
    members = [(name, b"copy") for name in hidden] + [("../a/0.png", b"0"), ("./1.png", b"1")]
    shard = index_tar(str(make.tar(tmp_path / "s.tar", members)))
    assert [shard.read(row) for row in range(len(shard))] == [b"0", b"1"]


@pytest.mark.parametrize(("suffix", "packed"), [(".tar.gz", gzip), (".tar.xz", lzma)])
def test_compressed_shards_are_named_with_the_remedy(
    tmp_path: Path, make: SimpleNamespace, suffix: str, packed: Any
) -> None:
    whole = make.tar(tmp_path / "whole", [("0.png", b"Z" * 512)]).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"s{suffix}").write_bytes(packed.compress(whole))
    with pytest.raises(ValueError, match=rf"no \.tar files; .*1 compressed.*s{suffix}.*unpack"):
        shard_paths(str(folder), ".tar")
    with pytest.raises(ValueError, match=rf"s{suffix} cannot be read.*Unpack it"):
        index_tar(str(folder / f"s{suffix}"))
    (folder / "s.tar").write_bytes(packed.decompress((folder / f"s{suffix}").read_bytes()))
    (found,) = shard_paths(str(folder), ".tar")
    assert index_tar(found).read(0) == b"Z" * 512
