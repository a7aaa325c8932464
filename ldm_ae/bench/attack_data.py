"""The ways into the package for pictures, loose and in shards, and hostile files for each."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ldm_ae.bench.mutations import Random, Target, damaged, example_picture
from ldm_ae.data.images import decode_image
from ldm_ae.errors import UserError


def tar(model: Path, work: Path) -> Target:
    from ldm_ae.data.tars import open_tars

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for index, data in enumerate(_encoded()):
            for name in (f"{index}.jpg", f"{index}{'n' * 120}.jpg"):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    whole = stream.getvalue()
    place = work / "shard.tar"

    def hostile(files: list[bytes], rng: Random) -> bytes:
        if rng.integers(200) == 0:  # headers of long names before each other, without end
            long = whole.find(b"././@LongLink")
            return whole[long : long + 1024] * int(rng.integers(500, 20_000))
        data = bytearray(damaged(files, rng, 512))
        if len(data) >= 512 and rng.integers(2):  # the checksum of the first header suits it
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\0 " % sum(data[:512])
        return bytes(data)

    def read(data: bytes) -> None:
        place.write_bytes(data)
        source = open_tars([str(place)], "shard", None, "data.path", 1 << 20)
        _read_all(source.shards)

    return Target([whole], hostile, read)


def parquet(model: Path, work: Path) -> Target:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ldm_ae.data.parquet import open_parquet

    whole = []
    for rows in (
        [{"bytes": data, "path": None} for data in _encoded()],
        [{"bytes": None, "path": "/etc/hostname"}],  # a file of whoever reads it
    ):
        stream = io.BytesIO()
        pq.write_table(pa.table({"image": rows, "label": [3] * len(rows)}), stream)
        whole.append(stream.getvalue())
    place = work / "shard.parquet"

    def hostile(files: list[bytes], rng: Random) -> bytes:
        if rng.integers(16) == 0:
            return files[1]
        backwards = damaged([data[::-1] for data in files], rng, 600)  # the footer is at the end
        return backwards[::-1] if rng.integers(2) else damaged(files, rng, 600)

    def read(data: bytes) -> None:
        place.write_bytes(data)
        _read_all(open_parquet([str(place)], "shard", None, True, "data.path").shards)

    return Target(whole, hostile, read)


def _read_all(shards: Sequence[Any]) -> None:
    for shard in shards:
        for _, found in shard.items(0):
            if not isinstance(found, (bytes, UserError)):
                raise AssertionError(f"a row gave the path {found!r}")
            if isinstance(found, bytes):
                with contextlib.suppress(UserError):
                    decode_image(found)


def images(model: Path, work: Path) -> Target:
    return Target(_encoded(), lambda files, rng: damaged(files, rng, 200), decode_image)


def _encoded() -> list[bytes]:
    """A small picture in every format that is read, with what hangs on: animation, EXIF, ICC."""
    picture = Image.fromarray(example_picture()[:, :, :3])
    files = []
    for form, options in (
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
        ("WEBP", {}),
        ("GIF", {"save_all": True, "append_images": [picture]}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("PPM", {}),
    ):
        stream = io.BytesIO()
        picture.save(stream, form, **options)
        files.append(stream.getvalue())
    return files
