"""Damaged .lae files: each must give symbols or a UserError, soon and in bounded memory.

Files of a few pictures are mutated, cut, lengthened and spliced; every second one gets a checksum
that suits it, and every fourth a plausible header, too, so that what lies behind them is reached.
Decoded is up to the symbols; the network has no way to fail on them.
"""

from __future__ import annotations

import collections
import multiprocessing
import resource
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ldm_ae.codec.codec import Codec
from ldm_ae.errors import UserError
from ldm_ae.pretrained import load_codec

SECONDS_PER_FILE = 5.0
MEGABYTES = 1024


@dataclass
class Outcome:
    """Counts over all files; `worst_seconds` of one; `memory_mb`: growth of the peak."""

    num_files: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    decoded: int = 0
    worst_seconds: float = 0.0
    memory_mb: float = 0.0


def fuzz_apart(folder: Path, num_files: int, seed: int, max_pixels: int) -> Outcome:
    """`fuzz` in a process of its own, so that its peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(load_and_fuzz, folder, num_files, seed, max_pixels).result()


def load_and_fuzz(folder: Path, num_files: int, seed: int, max_pixels: int) -> Outcome:
    return fuzz(load_codec(folder, max_pixels=max_pixels), num_files, seed)


def fuzz(codec: Codec, num_files: int, seed: int) -> Outcome:
    """Try so many damaged files. Raises AssertionError for a file whose checksum is false and that
    decodes all the same, and for one that takes too long; any error but UserError passes."""
    rng = np.random.default_rng(seed)
    whole = pictures(codec)
    outcome = Outcome(num_files)
    refused: collections.Counter[str] = collections.Counter()
    before = peak_memory()
    for index in range(num_files):
        data, sealed = damaged(whole, rng), bool(index % 2)
        if index % 4 == 3:
            data = with_plausible_header(data, codec.digest)
        if sealed:
            data = data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")
        start = time.perf_counter()
        try:
            codec.unpack(data)
        except UserError as error:
            refused[kind(str(error))] += 1
        else:
            assert sealed or data in whole, f"file {index} of seed {seed} was not refused"
            outcome.decoded += 1
        seconds = time.perf_counter() - start
        assert seconds < SECONDS_PER_FILE, f"file {index} of seed {seed} took {seconds:.1f} s"
        outcome.worst_seconds = max(outcome.worst_seconds, seconds)
    outcome.refused = dict(refused.most_common())
    outcome.memory_mb = peak_memory() - before
    return outcome


def pictures(codec: Codec) -> list[bytes]:
    """Files of small pictures, one with alpha, one grey, at several qualities."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    files = []
    for quality in [None] if codec.content.discrete else [0, 40, 63]:
        channels = (3,) if codec.model.image_channels == 3 else (codec.model.image_channels,)
        for count in (*channels, *((4, 1) if channels == (3,) else ())):
            files.append(codec.compress(image[:, :, :count], quality))
    return files


def damaged(whole: list[bytes], rng: np.random.Generator) -> bytes:
    """One of the files with one to three kinds of damage."""
    data = bytearray(whole[rng.integers(len(whole))])
    for _ in range(rng.integers(1, 4)):
        choice, place = rng.integers(8), int(rng.integers(len(data) + 1))
        if choice == 0:
            data = data[:place]
        elif choice == 1:
            data[place:place] = rng.bytes(int(rng.integers(1, 40)))
        elif choice == 2:
            other = whole[rng.integers(len(whole))]
            data[place:] = other[int(rng.integers(len(other))) :]
        elif choice == 3:
            size = int(rng.integers(1, 16))
            data[place : place + size] = bytes([rng.choice([0, 255])]) * size
        elif choice == 4:
            del data[place : place + int(rng.integers(1, 16))]
        elif len(data):
            # Half of the hits in the header, where they mean most.
            place = int(rng.integers(min(len(data), 22 if choice < 7 else len(data))))
            data[place] ^= int(rng.integers(1, 256)) if choice == 5 else 1 << int(rng.integers(8))
    return bytes(data)


def with_plausible_header(data: bytes, digest: bytes) -> bytes:
    """The right beginning, and the length of payload that is there; so its bytes get decoded."""
    start = b"LAE\x01" + digest
    data = start + data[len(start) :]
    if len(data) >= 26 and not data[12] & 4:  # without alpha
        length = (len(data) - 26) // 4 * 4
        data = data[:18] + length.to_bytes(4, "little") + data[22 : 26 + length]
    return data


def kind(message: str) -> str:
    """The message without its numbers."""
    words = ("#" if any(c.isdigit() for c in word) else word for word in message.split())
    return " ".join(words)


def peak_memory() -> float:
    """Of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTES
