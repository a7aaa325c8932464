"""LPIPS' backbones: torchvision's convolutional features, from a file, its cache or a download."""

import contextlib
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Backbone = Literal["vgg", "alex", "squeeze"]

# torchvision's class of weights for each backbone; its URL also names the file in the cache.
TORCHVISION_WEIGHTS: dict[str, str] = {
    "vgg": "VGG16_Weights",
    "alex": "AlexNet_Weights",
    "squeeze": "SqueezeNet1_1_Weights",
}
DOWNLOAD_TIMEOUT_SECONDS = 30.0


def load_backbone(net: Backbone, weights: str | None) -> dict[str, Tensor]:
    """torchvision's `features.*` tensors for `net`, from `weights`, the cache or a download.

    Raises ValueError that names the three ways out.
    """
    try:
        state = _read_weights(Path(weights)) if weights is not None else _fetch_torchvision(net)
    except (
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise ValueError(_ways_out(net, weights, error)) from error
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _fetch_torchvision(net: Backbone) -> dict[str, Tensor]:
    with _socket_timeout(DOWNLOAD_TIMEOUT_SECONDS):
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            _torchvision_url(net),
            map_location="cpu",
            progress=False,
            check_hash=True,
            weights_only=True,
        )
    return state


def _torchvision_url(net: Backbone) -> str:
    # Slow to import, and whoever reads only a config must not wait for it.
    from torchvision import models

    return str(getattr(models, TORCHVISION_WEIGHTS[net]).IMAGENET1K_V1.url)


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub sets no timeout: behind a firewall that drops packets it would hang."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _ways_out(net: Backbone, weights: str | None, error: Exception) -> str:
    url = _torchvision_url(net)
    tried = f"file {weights}" if weights is not None else f"torchvision's cache and {url}"
    return (
        f"loss.perceptual.net={net}: its backbone could not be loaded from {tried} "
        f"({type(error).__name__}: {error}). Three ways out: "
        "(a) loss.perceptual.weights=FILE, torchvision's `features.*` as safetensors or .pth; "
        f"(b) put {url.rsplit('/', 1)[-1]} into {Path(torch.hub.get_dir()) / 'checkpoints'}, "
        "or run once with a network; "
        "(c) loss.perceptual.net=embedded, which needs no download (it is not LPIPS)."
    )
