import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ldm_ae.cli.main import main
from ldm_ae.store.latent_store import LatentStore

LINE = "encode-dataset photos out --model ./kl --size 16 --threads 1"


def test_a_folder_becomes_a_store(work: Path, run, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"{LINE} --latents moments --flip")
    printed = capsys.readouterr()
    assert "3 images; 6 crops encoded in " in printed.out and "encoder busy for" in printed.out
    assert "3/3" in printed.err
    store = LatentStore("out", sample=True)
    assert len(store) == 6 and store[5]["id"] == "more/b.png#flipped"
    run(f"{LINE} --latents moments --flip")
    assert "3 images: nothing to encode" in capsys.readouterr().out


def test_broken_pictures_are_named_and_the_exit_code_says_so(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "photos" / "cut.png").write_bytes(b"no picture")
    for _ in range(2):
        assert main(LINE.split()) == 2
        printed = capsys.readouterr().err
        assert "left out: cut.png: a picture of no format" in printed
        assert "error: 1 of 4 images were left out, as said above; the others are done" in printed
    assert len(LatentStore("out")) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--size 15", "size 15: the model takes multiples of 2"),
        ("--dtype bfloat16", "is the store of another job: storage.dtype was float16"),
        ("--layout files --latents moments", "files hold latents, not moments"),
        ("--label-column kind --kind parquet", "photos holds no .parquet files"),
        ("--crops 2", "2 crops of each picture need random ones"),
        ("--device moon", "--device moon"),
    ],
)
def test_mistakes_end_with_one_message(work: Path, options: str, message: str, run, fail) -> None:
    run(LINE)
    before = sorted(work.rglob("*"))
    assert message in fail(f"{LINE} {options}")
    assert sorted(work.rglob("*")) == before


def test_ctrl_c_leaves_nothing_half_written(work: Path) -> None:
    """Of an endless job: its first shard is there, then it is stopped."""
    line = [sys.executable, "-m", "ldm_ae", *LINE.split(), "--shard-size", "1"]
    wide = Path("photos") / "wide"
    wide.mkdir()
    for number in range(400):
        os.link("photos/a.png", wide / f"{number}.png")
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(line, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.PIPE)
    while not list(Path("out").glob(".store/0*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=100)
    assert process.returncode == 130 and b"stopped by Ctrl-C" in printed
    assert 0 < len(LatentStore("out")) < 403
    assert not [path for path in Path("out").rglob(".shard*")]
