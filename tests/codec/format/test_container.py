import zlib

import pytest

from ldm_ae.codec.format.container import Header, LaeFile, read, write

HEADER = Header(b"12345678", indices=False, grey=True, width=31, height=7, quality=40)
FILES = [
    LaeFile(HEADER, b"abcd", None),
    LaeFile(HEADER, b"", b""),
    LaeFile(Header(b"12345678", True, False, 16_384, 16_384, 0), b"abcdefgh", b"xyz"),
]


def sealed(content: bytes) -> bytes:
    """With the checksum that suits the content."""
    return content + zlib.crc32(content).to_bytes(4, "little")


def changed(data: bytes, place: int, value: bytes) -> bytes:
    """Some bytes altered, the checksum made to suit."""
    return sealed(data[:place] + value + data[place + len(value) : -4])


@pytest.mark.parametrize("file", FILES)
def test_what_is_written_is_read(file: LaeFile, reference) -> None:
    data = write(file)
    assert read(data) == file
    fields = reference.read(data)
    assert fields["payload"] == file.payload and fields["width"] == file.header.width
    assert fields["digest"] == b"12345678" and fields["quality"] == file.header.quality


def test_overhead_is_26_bytes() -> None:
    assert len(write(LaeFile(HEADER, b"", None))) == 26


@pytest.mark.parametrize("file", FILES)
def test_every_altered_bit_and_every_cut_is_noticed(file: LaeFile) -> None:
    data = write(file)
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"\.lae file"):
            read(bytes(altered))
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"\.lae file"):
            read(data[:size])
    with pytest.raises(ValueError, match="checksum"):
        read(data + b"\0")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"PNG", "does not begin with LAE"),
        (3, b"\x02", "format version 2"),
        (12, b"\x0a", "unknown flags"),
        (13, b"\x40", "unknown quality 64"),
        (12, b"\x01", "unknown quality 40"),  # indices have quality 0
        (14, b"\x00\x00", "0x7"),
        (14, b"\x01\x40", "16385x7"),
        (14, b"\x00\x40\x01\x40", "16384x16385"),
        (18, b"\x03\x00\x00\x00", "too many"),
        (18, b"\xff\xff\xff\xff", "cut short"),
        (12, b"\x06", "cut short in its alpha plane"),
    ],
)
def test_a_false_header_with_a_true_checksum(place: int, value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(changed(write(FILES[0]), place, value))


def test_false_lengths_of_the_alpha_plane() -> None:
    data = write(FILES[2])
    for value in (b"\x02", b"\x04", b"\xff"):
        with pytest.raises(ValueError, match="bytes of alpha"):
            read(changed(data, 30, value))


@pytest.mark.parametrize("size", [(0, 5), (16_385, 1), (1, 20_000)])
def test_sizes_out_of_bounds_are_not_written(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must lie in 1..16384"):
        write(LaeFile(Header(b"12345678", False, False, *size, 0), b"", None))
