"""What must not happen to a user's pictures, whatever the weights, the signals and the disk do."""

import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ldm_ae.cli import files
from ldm_ae.cli.main import main
from ldm_ae.files import aside_of


def test_decompressing_overwrites_nothing_unasked(work: Path, run, fail) -> None:
    original = (work / "photos" / "a.png").read_bytes()
    run("compress photos photos --model ./kl")
    message = fail("decompress photos photos --model ./kl")
    assert "photos/a.png and 1 more would be overwritten" in message and "--force" in message
    assert not (work / "photos" / "c.png").exists(), "nothing was begun"
    assert "would be overwritten" in fail("decompress photos/a.lae photos/a.png --model ./kl")
    assert (work / "photos" / "a.png").read_bytes() == original
    run("decompress photos photos --model ./kl --force")
    assert (work / "photos" / "a.png").read_bytes() != original


def test_remains_of_a_killed_process_go(work: Path, run) -> None:
    run("compress photos lae --model ./kl")
    (work / "back").mkdir()
    killed = subprocess.Popen(["sleep", "0"])
    killed.wait()
    for process, stays in ((killed.pid, False), (os.getppid(), True)):
        half = aside_of(work / "back" / "a.png")
        half = half.with_name(half.name.replace(str(os.getpid()), str(process)))
        half.write_text("half")
        run("decompress lae back --model ./kl --force")
        assert half.exists() == stays


@pytest.mark.parametrize("part", ["decoder", "encoder"])
def test_weights_that_are_not_finite_write_no_picture(work: Path, part: str, run, fail) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    path = work / "kl" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state[f"{part}.conv_in.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, path)
    for line in ("compress photos/a.png b.lae", "decompress a.lae a.png"):
        message = fail(f"{line} --model ./kl")
        assert f"{part}.conv_in.weight holds numbers that are not finite" in message
    assert not (work / "b.lae").exists() and not (work / "a.png").exists()


def test_finite_weights_whose_picture_is_not(
    work: Path, capsys: pytest.CaptureFixture[str], run
) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    path = work / "kl" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    run("compress photos/a.png good/a.lae --model ./kl")
    state["decoder.conv_out.bias"][:] = 3e38
    state["decoder.conv_out.weight"][:] = 3e38
    save_file(state, path)
    run("calibrate ./kl --images photos --prior factorised")
    run("compress photos lae --model ./kl")
    for source, target in (("lae/a.lae", "a.png"), ("lae", "back")):
        assert main(["decompress", source, target, "--model", "./kl"]) in (1, 2)
        assert "a.lae: a picture of numbers that are not finite" in capsys.readouterr().err
    assert not (work / "a.png").exists() and not (work / "back" / "a.png").exists()


def test_an_lae_file_that_vanishes_is_named_and_the_rest_done(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run
) -> None:
    run("compress photos lae --model ./kl")
    found = files.find_files

    def vanishing(*arguments: object) -> list[Path]:
        paths = found(*arguments)
        (work / "lae" / "a.lae").unlink()
        return paths

    monkeypatch.setattr(files, "find_files", vanishing)
    capsys.readouterr()
    assert main(["decompress", "lae", "back", "--model", "./kl"]) == 2
    assert "error: lae/a.lae: cannot be read: " in capsys.readouterr().err
    assert (work / "back" / "c.png").exists()
