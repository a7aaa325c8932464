"""Round trips of the codec: decoded symbols must equal the encoded ones, however either side ran.

Every picture, and small, flat and noisy ones, is written by one thread, by two, out of a batch of
eight, and by a compiled encoder. Each of these files is read by one thread, by two, and with the
prior's networks compiled; the first, by eight readers at once, too. That is at the default quality;
at the coarsest and the finest one thread writes and reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tqdm import tqdm

import ldm_ae.codec.priors.context
import ldm_ae.codec.priors.index
from ldm_ae.bench.coder import Pixels
from ldm_ae.codec.codec import DEFAULT_QUALITY, Analysis, Codec
from ldm_ae.codec.format.ladder import NUM_QUALITIES
from ldm_ae.data.images import pad_to_multiple, to_float
from ldm_ae.pretrained import load_codec
from ldm_ae.threads import using_threads

LARGE = "4096x4096"
BATCH = 8
QUALITIES = (DEFAULT_QUALITY, 0, NUM_QUALITIES - 1)
# Where the priors run their networks.
_NETWORKS = (
    (ldm_ae.codec.priors.context, "run_trunk"),
    (ldm_ae.codec.priors.context, "run_head"),
    (ldm_ae.codec.priors.index, "run_features"),
)


@dataclass(frozen=True)
class Way:
    """A way to write or read a file. batch: pictures that are analysed together, or files that
    are read at the same time."""

    name: str
    threads: int = 1
    batch: int = 1
    compiled: bool = False


WAYS = (
    Way("1 thread"),
    Way("2 threads", threads=2),
    Way("batch of 8", batch=BATCH),
    Way("compiled", compiled=True),
)


def check_all(
    folders: Mapping[str, Path], pictures: Mapping[str, Pixels], large: bool
) -> dict[str, dict[str, Any]]:
    """`check` for each model. Raises UserError or OSError for a folder that is none."""
    results = {}
    with tqdm(total=len(folders) * (len(pictures) + large), unit="picture") as progress:
        for name, folder in folders.items():
            progress.set_postfix_str(name)
            codec, compiled, reader = (load_codec(folder) for _ in range(3))
            # Of any size: otherwise each would be compiled anew.
            compiled.model.encoder.compile(dynamic=True)
            results[name] = check(codec, compiled, reader, pictures, progress.update)
            if large:
                results[name][LARGE] = check_large(codec, reader)
                if not results[name][LARGE]["equal"]:
                    results[name]["differing"].append([LARGE, DEFAULT_QUALITY])
                progress.update()
    return results


def special_pictures() -> dict[str, Pixels]:
    """Sizes far from a multiple of f, no detail, nothing but detail."""
    rng = np.random.default_rng(0)
    return {
        "1x1": np.full((1, 1, 3), 200, np.uint8),
        "7x1031": rng.integers(0, 256, (1031, 7, 3), dtype=np.uint8),
        "1031x7": rng.integers(0, 256, (7, 1031, 3), dtype=np.uint8),
        "black": np.zeros((256, 256, 3), np.uint8),
        "noise": rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
    }


def check(
    codec: Codec,
    compiled: Codec,
    reader: Codec,
    pictures: Mapping[str, Pixels],
    after: Callable[[], object],
) -> dict[str, Any]:
    """Counts, and the [picture, quality, writer, reader] whose symbols differ. The three are the
    same model, opened anew so that nothing one of them remembers helps another."""
    differing, num_files, num_reads = [], 0, 0
    others = () if codec.content.discrete else QUALITIES[1:]
    usual = None if codec.content.discrete else DEFAULT_QUALITY
    together = analyse_batches(codec, pictures)
    for name, pixels in pictures.items():
        for writer in WAYS:
            first = writer is WAYS[0]
            with using_threads(writer.threads):
                analysis = (compiled if writer.compiled else codec).encode(pixels)
                if writer.batch > 1:
                    analysis = replace(analysis, content=together[name])
                files = {q: codec.pack(analysis, q) for q in (usual, *(others if first else ()))}
            for quality, data in files.items():
                wanted, num_files = symbols(codec, analysis, quality), num_files + 1
                for way in ways_to_read(first, quality == usual):
                    found = read(reader, data, way)
                    num_reads += len(found)
                    if not all(np.array_equal(wanted, each) for each in found):
                        differing.append([name, quality, writer.name, way.name])
        after()
    counts = {"files": num_files, "reads": num_reads}
    return {"prior": codec.prior.name, **counts, "differing": differing}


def ways_to_read(first: bool, usual: bool) -> Sequence[Way]:
    """first: whether this is the first writer's file. usual: whether of the default quality."""
    if not usual:
        return WAYS[:1]
    return WAYS if first else [way for way in WAYS if way.batch == 1]


def check_large(codec: Codec, reader: Codec) -> dict[str, Any]:
    """Coarse noise of 4,096 pixels a side: bytes, and whether its symbols came back."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    analysis = codec.encode(small.repeat(8, axis=0).repeat(8, axis=1))
    data = codec.pack(analysis)
    wanted = symbols(codec, analysis, None if codec.content.discrete else DEFAULT_QUALITY)
    equal = bool(np.array_equal(reader.unpack(data).symbols, wanted))
    return {"bytes": len(data), "equal": equal}


def analyse_batches(codec: Codec, pictures: Mapping[str, Pixels]) -> dict[str, np.ndarray]:
    """What the network makes of each picture in a batch of eight of its size, the last ones
    repeated. It may differ in its last bits from what it makes of the picture alone; it has to be
    read as it was written."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, pixels in pictures.items():
        by_shape.setdefault(pixels.shape, []).append(name)
    found: dict[str, np.ndarray] = {}
    for names in by_shape.values():
        for start in range(0, len(names), BATCH):
            chosen = names[start : start + BATCH]
            filled = [*chosen, *[chosen[-1]] * (BATCH - len(chosen))]
            images = torch.cat([to_float(pictures[name]) for name in filled])
            padded, _ = pad_to_multiple(images, codec.model.downsampling_factor)
            with torch.inference_mode():
                found |= zip(chosen, codec.content.analyse(padded), strict=False)
    return found


def symbols(codec: Codec, analysis: Analysis, quality: int | None) -> np.ndarray:
    """What `codec.pack` codes."""
    return codec.content.pack(analysis.content, quality or 0)[0]


def read(codec: Codec, data: bytes, way: Way) -> list[np.ndarray]:
    with ExitStack() as stack:
        stack.enter_context(using_threads(way.threads))
        for module, name in _NETWORKS if way.compiled else ():
            stack.enter_context(patch.object(module, name, _compiled(getattr(module, name))))
        pool = stack.enter_context(ThreadPoolExecutor(way.batch))
        return list(pool.map(lambda _: codec.unpack(data).symbols, range(way.batch)))


_COMPILED: dict[Any, Any] = {}


def _compiled(function: Any) -> Any:
    if function not in _COMPILED:
        _COMPILED[function] = torch.compile(function, dynamic=True)
    return _COMPILED[function]
