"""The ways into the package for models, files and configs, and hostile files for each."""

from __future__ import annotations

import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ldm_ae.bench.mutations import (
    Random,
    Target,
    damaged,
    example_picture,
    odd_json,
    odd_safetensors,
    odd_yaml,
)
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.priors.file import load_prior
from ldm_ae.config import SHIPPED, read_yaml
from ldm_ae.convert.load import load
from ldm_ae.convert.places import STEM
from ldm_ae.pretrained import load_codec


def lae(model: Path, work: Path) -> Target:
    """Decoded up to the symbols; the network has no way to fail on them. Every second file gets a
    checksum that suits it, and every fourth a plausible header, so that what lies behind them is
    reached; a file with a false checksum that is not refused is an error."""
    codec = load_codec(model, max_pixels=1 << 20)
    whole = pictures(codec)

    def hostile(whole: list[bytes], rng: Random) -> bytes:
        data, choice = damaged(whole, rng), rng.integers(4)
        if choice == 3:
            data = with_plausible_header(data, codec.digest)
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little") if choice % 2 else data

    def read(data: bytes) -> None:
        codec.unpack(data)
        assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "a false checksum"

    return Target(whole, hostile, read)


def pictures(codec: Codec) -> list[bytes]:
    """Files of small pictures, one with alpha, one grey, at several qualities."""
    image = example_picture()
    files = []
    for quality in [None] if codec.content.discrete else [0, 40, 63]:
        channels = codec.model.image_channels
        for count in (3, 4, 1) if channels == 3 else (channels,):
            files.append(codec.compress(image[:, :, :count], quality))
    return files


def with_plausible_header(data: bytes, digest: bytes) -> bytes:
    """The right beginning, and the length of payload that is there; so its bytes get decoded."""
    start = b"LAE\x01" + digest
    data = start + data[len(start) :]
    if len(data) >= 26 and not data[12] & 4:  # without alpha
        length = (len(data) - 26) // 4 * 4
        data = data[:18] + length.to_bytes(4, "little") + data[22 : 26 + length]
    return data


def _beside(model: Path, work: Path, name: str, without: str = "") -> Callable[[bytes], Path]:
    """Puts bytes as the file `name` into a copy of the model's folder; returns that."""
    folder = work / "model"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.lae", "symbols.json"))
    if without:
        (folder / without).unlink()

    def put(data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder

    return put


def config_json(model: Path, work: Path) -> Target:
    put = _beside(model, work, "config.json")
    whole = (model / "config.json").read_bytes()
    tree = json.loads(whole)
    return Target([whole], lambda _, rng: odd_json(tree, rng), lambda data: load(put(data)))


def safetensors(model: Path, work: Path) -> Target:
    name = f"{STEM}.safetensors"
    put = _beside(model, work, name)
    return Target([(model / name).read_bytes()], odd_safetensors, lambda data: load(put(data)))


def prior(model: Path, work: Path) -> Target:
    name = "prior.safetensors"
    put = _beside(model, work, name)
    return Target(
        [(model / name).read_bytes()], odd_safetensors, lambda data: load_prior(put(data))
    )


class _Asks:
    """Pickled as a call."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.what, self.arguments)


def pickled(model: Path, work: Path) -> Target:
    weights = load_file(model / f"{STEM}.safetensors")
    name = next(iter(weights))
    put = _beside(model, work, f"{STEM}.bin", f"{STEM}.safetensors")
    stretched = {key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}
    odd: list[Any] = [
        stretched,
        {**weights, name: _Asks(bytearray, 1 << 32)},
        {**weights, name: _Asks(torch.FloatTensor, 1 << 30)},
        {**weights, name: _Asks(print, "code ran")},
        {**weights, name: weights[name].to_sparse()},
        {**weights, name: weights[name].to("meta")},
        {**weights, name: torch.zeros(1).expand(1 << 40)},
        {**weights, name: weights[name] * float("nan")},
        {**weights, 3: weights[name]},
        list(weights.values()),
    ]

    def hostile(whole: list[bytes], rng: Random) -> bytes:
        if rng.integers(4):
            return damaged(whole, rng, 2000)
        return whole[1 + rng.integers(len(odd))]

    return Target([_saved(item) for item in (weights, *odd)], hostile, lambda data: load(put(data)))


def _saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def yaml(model: Path, work: Path) -> Target:
    from ldm_ae.train.initial import load_experiment

    trees = [read_yaml(path) for path in sorted(SHIPPED.glob("*_f8_small.yaml"))]
    place = work / "config.yaml"

    def read(data: bytes) -> object:
        place.write_bytes(data)
        return load_experiment(place, ["data.path=photos"])

    whole = [json.dumps(tree).encode() for tree in trees]
    return Target(whole, lambda _, rng: odd_yaml(trees[rng.integers(len(trees))], rng), read)
