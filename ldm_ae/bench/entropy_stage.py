"""The codec's entropy stage, apart from the network: bits of each prior and what coding takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from ldm_ae.bench.coder import Pixels
from ldm_ae.codec.contents import LAGRANGIAN, Content
from ldm_ae.codec.fitting.calibrate import Samples, fit
from ldm_ae.codec.fitting.fit import Kind
from ldm_ae.codec.format.ladder import UNITS_PER_DEVIATION, step
from ldm_ae.codec.priors.file import prior_bytes
from ldm_ae.data.images import pad_to_multiple, to_float
from ldm_ae.data.paths import find_images
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder


def measure(
    content: Content,
    items: Sequence[np.ndarray],
    quality: int,
    *,
    nearest: bool = False,
    rounds: int = 1,
) -> dict[str, Any]:
    """Payloads of latents or indices, decoded again and compared: their bits and CPU seconds.

    nearest: the symbols nearest to the latents, the same for every prior, instead of those that
    the codec chooses as worth their bits. rounds: the fastest counts. Raises UserError if other
    symbols come back.
    """
    lagrangian = 0 if nearest else LAGRANGIAN
    encode, decode = [], []
    for _ in range(rounds):
        start = time.process_time()
        packed = [content.pack(item, quality, lagrangian) for item in items]
        encode.append(time.process_time() - start)
        start = time.process_time()
        found = [
            content.unpack(payload, symbols.shape[-2], symbols.shape[-1], quality)
            for symbols, payload in packed
        ]
        decode.append(time.process_time() - start)
        symbols, payloads = zip(*packed, strict=True)
        if not all(map(np.array_equal, found, symbols)):
            raise UserError("decoded symbols differ from the encoded ones")
    num_bits = 8 * sum(map(len, payloads))
    return {
        "values": symbols[0].size,
        "bits_per_value": num_bits / sum(each.size for each in symbols),
        "excess": num_bits / sum(content.bits(each, quality) for each in symbols) - 1,
        "encode_s": min(encode) / len(items),
        "decode_s": min(decode) / len(items),
    }


def compare_priors(
    model: Autoencoder,
    fit_to: Sequence[np.ndarray],
    items: Sequence[np.ndarray],
    qualities: Sequence[int],
    kinds: Sequence[Kind] = get_args(Kind),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What each kind of prior took to fit, by name; and a row for each prior and quality.

    fit_to, items: what `analyse` makes of the images to fit and to measure. kinds: the first is
    what the others save bits of.
    """
    samples = Samples()
    for item in fit_to:
        samples.add(torch.from_numpy(item)[None])
    priors: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for kind in kinds:
        start, cpu = time.perf_counter(), time.process_time()
        prior = fit(model, samples, kind)
        priors[prior.name] = {
            "fit_seconds": time.perf_counter() - start,
            "fit_cpu_seconds": time.process_time() - cpu,
            "bytes": len(prior_bytes(prior)),
        }
        content = Content(model, prior)
        codes = len(prior.tables.row(0))
        fixed = (codes - 1).bit_length() if content.discrete else None
        for quality in [None] if content.discrete else qualities:
            row: dict[str, Any] = {"prior": prior.name, "fixed_bits": fixed}
            row |= {"quality": "-", "step": "-"}
            if quality is not None:
                row["quality"] = str(quality)
                row["step"] = f"{step(quality) / UNITS_PER_DEVIATION:.3f}"
            rows.append(row | measure(content, items, quality or 0, nearest=True))
    for row in rows:
        base = next(each for each in rows if each["quality"] == row["quality"])
        row["saved"] = 1 - row["bits_per_value"] / base["bits_per_value"]
        if row["fixed_bits"] is not None:
            row["saved_of_fixed"] = 1 - row["bits_per_value"] / row["fixed_bits"]
    return priors, rows


@torch.inference_mode()
def analyse(model: Autoencoder, image: Pixels) -> np.ndarray:
    """uint8 (H, W, 3) => latents (c, h, w) or indices (h, w)."""
    padded, _ = pad_to_multiple(to_float(image), model.downsampling_factor)
    encode = model.encode if model.quantizer is None else model.encode_indices
    found: np.ndarray = encode(padded)[0].numpy()
    return found


def middle_crops(folder: Path, count: int, side: int, reader: Reader) -> list[Pixels]:
    """The middles of so many images that are large enough. Raises UserError for none."""
    images = (image for _, image in reader.images(find_images(folder)))
    large = (image for image in images if min(image.shape[:2]) >= side)
    found: list[Pixels] = []
    for image in islice(large, count):
        top, left = ((size - side) // 2 for size in image.shape[:2])
        found.append(image[top : top + side, left : left + side])
    if not found:
        raise UserError(f"--images {folder}: has no image of {side} px or more")
    return found


def random_crops(folder: Path, count: int, side: int, reader: Reader) -> Iterator[Pixels]:
    """One crop each of so many images, spread evenly over the sorted names."""
    paths, rng = find_images(folder, "--fit-images"), np.random.default_rng(0)
    count = min(count, len(paths))
    chosen = [paths[index * len(paths) // count] for index in range(count)]
    for _, image in reader.images(tqdm(chosen, "crops")):
        height, width = (min(size, side) for size in image.shape[:2])
        top = rng.integers(image.shape[0] - height + 1)
        left = rng.integers(image.shape[1] - width + 1)
        yield image[top : top + height, left : left + width]
