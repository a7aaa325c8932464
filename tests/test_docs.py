"""The documents' commands: the quick ones are run, the others read by the parsers that would run
them."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GOLDEN = ROOT / "tests" / "codec" / "golden" / "kl_v1"
RUN_VERBS = {"compress", "decompress", "info"}  # the others take longer: tests/cli has them


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            found.append((page.name, block))
    return found


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of each line, continued lines joined, comments left out."""
    lines = []
    for page, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                lines.append((page, words))
    return lines


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages name: exports, photos, a photo and its file."""
    for name in ("kl_f8", "rate_f8_small", "kl_f8_small"):
        shutil.copytree(GOLDEN, tmp_path / "runs" / name / "export")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for folder in ("photos", "kodak"):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "one.png")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    main(["compress", "photo.png", "photo.lae"])
    main(["compress", "photo.png", "own.lae", "--model", "runs/kl_f8/export"])
    return tmp_path


OURS = [words for _, words in commands() if words[0] == "ldm-ae"]
ENCODE = next(words for page, words in commands() if page == "latent_store.md")
VERBS = [words for words in OURS if words[1] in RUN_VERBS]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_codec_commands_run(words: list[str], workplace: Path) -> None:
    main(words[1:])
    assert words[1] == "info" or (workplace / words[3]).stat().st_size > 0


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_our_verbs_know_their_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([words[1], "--help"])
    assert stop.value.code in (0, None)
    known = capsys.readouterr().out
    for word in words[2:]:
        assert not word.startswith("--") or word in known, f"{words[1]} has no {word}"


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_runs(page: str, block: str, workplace: Path) -> None:
    if page == "latent_store.md":
        main(["encode-dataset", "photos", "latents", *ENCODE[4:]])
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    exec(compile(block, page, "exec"), {"images": images, "latents": torch.zeros(1, 4, 4, 4)})


def options_of(script: Path, capsys: pytest.CaptureFixture[str]) -> str:
    sys.argv = [str(script), "--help"]
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    return capsys.readouterr().out


SCRIPTED = [words for _, words in commands() if any(word.endswith(".py") for word in words)]


@pytest.mark.parametrize("words", SCRIPTED, ids=" ".join)
def test_scripts_exist_and_know_their_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    at = next(i for i, word in enumerate(words) if word.endswith(".py"))
    script = ROOT / words[at]
    monkeypatch.syspath_prepend(script.parent)
    known = options_of(script, capsys)
    for word in words[at + 1 :]:
        assert not word.startswith("--") or word in known, f"{script.name} has no {word}"
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


def test_links_and_pictures_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_that_the_readme_names_in_its_tree_is_there() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").split("## Files")[1].split("```")[1]
    named = re.findall(r"^(?:  )?(\w+)/", tree, re.MULTILINE)
    assert len(named) > 15
    for name in named:
        assert (ROOT / name).is_dir() or (ROOT / "ldm_ae" / name).is_dir(), name


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 140
