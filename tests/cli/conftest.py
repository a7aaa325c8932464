"""A folder to work in with two models and some pictures, how a verb is run there, and a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldm_ae.cli.main import main

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models and some pictures, and the working directory."""
    rng = np.random.default_rng(0)
    for name in ("kl", "vq"):
        shutil.copytree(GOLDEN / f"{name}_v1", tmp_path / name)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    coarse = rng.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    Image.fromarray(image[:, :, :3]).save(tmp_path / "photos" / "a.png")
    Image.fromarray(image).save(tmp_path / "photos" / "more" / "b.png")
    Image.fromarray(image[:, :, 0]).save(tmp_path / "photos" / "c.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run() -> Callable[[str], None]:
    def must_succeed(line: str) -> None:
        assert main(line.split()) == 0

    return must_succeed


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """The one message of a command that must fail."""

    def must_fail(line: str) -> str:
        capsys.readouterr()
        try:
            code = main(line.split())
        except SystemExit as stop:  # argparse's own
            code = stop.code
        assert code == 2
        lines = [part for part in capsys.readouterr().err.splitlines() if "error: " in part]
        assert len(lines) == 1
        return lines[0]

    return must_fail


@pytest.fixture
def browse() -> Callable[[Path], Browser]:
    """A page in Chromium; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    return lambda page: Browser(chromium, page)


class Browser:
    """`with Browser(chromium, page) as browser`: a page of the disk, open and loaded; driven over a
    pipe (the Chrome DevTools Protocol)."""

    def __init__(self, chromium: str, page: Path) -> None:
        self.chromium, self.page = chromium, page
        self.session: str | None = None
        self.number = 0

    def __enter__(self) -> Browser:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        command = [self.chromium, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        command += ["--window-size=1200,900", "about:blank"]
        # Chromium reads from 3 and writes to 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.writer, self.reader = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Page.navigate", url=self.page.resolve().as_uri())
        self._until("Page.loadEventFired")
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()  # the browser ends with its pipe
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.close()
        self.profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def value(self, expression: str) -> Any:
        """Of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y) in (
            ("mousePressed", start),
            ("mouseMoved", end),
            ("mouseReleased", end),
        ):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _until(self, event: str) -> None:
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            assert byte, "the browser has gone"
            found += byte
        message: dict[str, Any] = json.loads(found)
        return message
