import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import diffusers
import huggingface_hub
import pytest
import torch

import ldm_ae
from ldm_ae.errors import UserError
from ldm_ae.hub import SECONDS

OPEN = {
    "a model": "import ldm_ae; ldm_ae.load('hub:owner/model')",
    "a data set": (
        "from ldm_ae.data.opening import open_data; from ldm_ae.data.config import DataConfig;"
        "open_data(DataConfig(kind='hub', name='owner/data', size=16))"
    ),
}


@pytest.fixture
def in_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with owner/model, a pipeline: what a machine without a network has."""
    commit = "0" * 40
    model = tmp_path / "models--owner--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    snapshot = model / "snapshots" / commit
    diffusers.AutoencoderKL(
        block_out_channels=[8], norm_num_groups=4, scaling_factor=0.37
    ).save_pretrained(snapshot / "vae")
    (snapshot / "model_index.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return snapshot / "vae"


@pytest.mark.parametrize(
    "name", ["hub:owner/model", "hub:owner/model/vae", Path("hub:owner/model")]
)
def test_a_copy_that_is_here_opens_offline(name: str | Path, in_cache: Path) -> None:
    ours, wanted = ldm_ae.load(name), ldm_ae.load(in_cache)
    assert ours.scaling_factor == 0.37
    assert torch.equal(ours.decoder.conv_out.weight, wanted.decoder.conv_out.weight)


def test_a_file_of_a_repository(in_cache: Path) -> None:
    file = in_cache / "diffusion_pytorch_model.safetensors"
    (in_cache / "config.json").rename(in_cache / "other.json")
    wide = diffusers.AutoencoderKL(block_out_channels=[32])
    wide.save_pretrained(in_cache.parent / "wide")
    whole = in_cache.parent / "vae.safetensors"
    (in_cache.parent / "wide" / file.name).rename(whole)
    model = ldm_ae.load("hub:owner/model/vae.safetensors")
    assert torch.equal(model.decoder.conv_out.weight, wide.decoder.conv_out.weight)
    with pytest.raises(UserError, match="is no folder here"):
        ldm_ae.load("hub:owner/model/other.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:nobody/nothing", "the hub does not give it"),
        ("hub:owner", "is hub:owner/model"),
        ("hub:../../etc", "is hub:owner/model"),
        ("hub:owner/model/../other", "is hub:owner/model"),
    ],
)
def test_what_the_hub_cannot_give_is_one_error(name: str, message: str, in_cache: Path) -> None:
    with pytest.raises(UserError, match=message):
        ldm_ae.load(name)


@pytest.mark.parametrize("name", ["owner/model", "model", "runs/kl_f8/exprot"])
def test_a_mistyped_folder_asks_nobody(
    name: str, in_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(
        UserError, match=rf"{name} has no config.json, .* no folder here: .* hub:owner/model"
    ):
        ldm_ae.load(name)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """It takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("what", OPEN)
def test_a_silent_server_is_given_up_within_seconds(
    what: str, silent_server: str, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "HF_ENDPOINT": silent_server,
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
    }
    code = (
        "import time\nfrom ldm_ae.errors import UserError\nimport datasets, torch\n"
        "began = time.monotonic()\n"
        f"try:\n    {OPEN[what]}\nexcept UserError as error:\n"
        "    print(time.monotonic() - began, error)"
    )
    began = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    seconds, _, message = finished.stdout.partition(" ")
    assert "the hub does not give it" in message, finished.stderr
    assert float(seconds) < SECONDS + 2
    assert time.monotonic() - began < 100


def test_local_parquet_asks_nobody(tmp_path: Path) -> None:
    """The package `datasets` counts what is opened by asking the network."""
    code = (
        "import sys, json\nasked = []\n"
        "sys.addaudithook(lambda e, a: asked.append(e) if e in ('socket.connect',"
        " 'socket.getaddrinfo') else None)\n"
        "import numpy as np, io\nfrom PIL import Image\nimport pyarrow as pa\n"
        "import pyarrow.parquet as pq\n"
        "stream = io.BytesIO(); Image.new('RGB', (32, 32)).save(stream, 'png')\n"
        "rows = [{'bytes': stream.getvalue(), 'path': None}] * 4\n"
        "pq.write_table(pa.table({'image': rows}), 'a.parquet')\n"
        "from ldm_ae.data.opening import open_data\nfrom ldm_ae.data.config import DataConfig\n"
        "open_data(DataConfig(kind='parquet', path='a.parquet', size=16, validation_count=0))\n"
        "print(json.dumps(asked))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
    }
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert json.loads(finished.stdout.splitlines()[-1]) == [], finished.stderr
