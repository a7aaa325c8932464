"""Standard input and output as a picture, and as a file of the codec."""

import io
from pathlib import Path

import pytest
from PIL import Image

from ldm_ae.cli.main import main


def piped(line: str, data: bytes, monkeypatch: pytest.MonkeyPatch, capsysbinary) -> bytes:
    """What a verb writes to the standard output when that is what it reads from the input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    capsysbinary.readouterr()
    assert main(line.split()) == 0
    written: bytes = capsysbinary.readouterr().out
    return written


def test_standard_input_and_output(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary
) -> None:
    picture = (work / "photos" / "a.png").read_bytes()
    file = piped("compress - - --model ./kl", picture, monkeypatch, capsysbinary)
    main(["compress", "photos/a.png", "a.lae", "--model", "./kl"])
    assert file == (work / "a.lae").read_bytes()
    back = piped("decompress - - --model ./kl", file, monkeypatch, capsysbinary)
    main(["decompress", "a.lae", "a.png", "--model", "./kl"])
    with Image.open(io.BytesIO(back)) as ours, Image.open(work / "a.png") as theirs:
        assert ours.tobytes() == theirs.tobytes()
    mixed = piped("compress - b.lae --model ./kl", picture, monkeypatch, capsysbinary)
    assert b"1 file" in mixed and (work / "b.lae").read_bytes() == file


def test_what_cannot_go_through_a_pipe(work: Path, fail, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "photos is a folder: name a folder" in fail("compress photos - --model ./kl")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"no picture")))
    assert "standard input" in fail("compress - x.lae --model ./kl")
    assert not (work / "x.lae").exists()
