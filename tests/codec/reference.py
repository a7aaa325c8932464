"""A second decoder, written after FORMAT.md in plain integers; slow."""

import struct
import zlib

import numpy as np

from ldm_ae.codec.format.ladder import STEPS


class ReferenceCoder:
    def __init__(self, payload: bytes) -> None:
        self.words = iter(struct.unpack(f"<{len(payload) // 4}I", payload))
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        return next(self.words, 0)

    def entry(self, counts: list[int]) -> int:
        total, bound, bounds = sum(counts), 2**24 - len(counts), []
        before = 0
        for place, count in enumerate(counts):
            if total & (total - 1):
                bounds.append(int(before * (bound / total)) + place)
            else:
                bounds.append(before * bound // total + place)
            before += count
        return self.decode([*bounds, 2**24])

    def equal(self, size: int) -> int:
        return self.decode([2**24 * place // size for place in range(size + 1)])

    def decode(self, bounds: list[int]) -> int:
        scale = self.range >> 24
        quantile = (self.point - self.lower) % 2**64 // scale
        assert quantile < 2**24
        place = np.searchsorted(bounds, quantile, side="right").item() - 1
        self.lower = (self.lower + scale * bounds[place]) % 2**64
        self.range = scale * (bounds[place + 1] - bounds[place])
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.point = self.point * 2**32 % 2**64 + self.word()
        return place


def signed(coder: ReferenceCoder, tables: list[list[int]], rows: list[int]) -> list[int]:
    """The symbols of a pass, in the order of their positions, offsets 0."""
    found = [0] * len(rows)
    for position in sorted(range(len(rows)), key=lambda place: rows[place]):
        counts = tables[rows[position]]
        found[position] = coder.entry(counts) - (len(counts) - 2) // 2
    escaped = [place for place, row in enumerate(rows) if found[place] == len(tables[row]) // 2]
    exponents = [coder.equal(16) for _ in escaped]
    for exponent in range(16):
        for place, own in zip(escaped, exponents, strict=True):
            if own == exponent:
                excess = 2**exponent - 1 + (coder.equal(2**exponent) if exponent else 0)
                beyond = excess // 2 + len(tables[rows[place]]) // 2
                found[place] = -beyond if excess % 2 else beyond
    return found


def read(data: bytes) -> dict:
    """The fields of a file whose checksum holds."""
    names = ["magic", "version", "digest", "flags", "quality", "width", "height", "length"]
    fields = dict(zip(names, struct.unpack_from("<3sB8sBBHHI", data), strict=True))
    assert fields["magic"] == b"LAE" and fields["version"] == 1
    assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    fields["payload"] = data[22 : 22 + fields["length"]]
    fields["rest"] = data[22 + fields["length"] : -4]
    return fields


def tables_of(prior) -> list[list[int]]:
    arrays = prior.to_arrays()
    counts, tables = arrays["tables.counts"].tolist(), []
    for width in arrays["tables.widths"].tolist():
        tables.append(counts[:width])
        counts = counts[width:]
    return tables


def symbols_of(data: bytes, prior, factor: int) -> np.ndarray:
    """What a file with a `factorised` or `index counts` prior holds: (c, h, w) or (h, w)."""
    fields, tables = read(data), tables_of(prior)
    height, width = -(-fields["height"] // factor), -(-fields["width"] // factor)
    coder = ReferenceCoder(fields["payload"])
    if fields["flags"] & 1:
        found = [coder.entry(tables[0]) for _ in range(height * width)]
        return np.array(found).reshape(height, width)
    channels = len(prior.to_arrays()["centre"])
    rows = [64 * c + fields["quality"] for c in range(channels) for _ in range(height * width)]
    assert fields["quality"] < len(STEPS)
    return np.array(signed(coder, tables, rows)).reshape(channels, height, width)
