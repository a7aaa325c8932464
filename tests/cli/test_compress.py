from pathlib import Path

import pytest


def test_the_rate_is_that_of_all_files_together(
    work: Path, run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compress photos packed --model ./kl")
    num_bytes = sum(path.stat().st_size for path in Path("packed").rglob("*.lae"))
    rate = f"3 files, {num_bytes} bytes, {num_bytes * 8 / (3 * 48 * 72):.4f} bpp\n"
    assert capsys.readouterr().out == rate


def test_a_folder_that_is_done_is_said_to_be(
    work: Path, run, fail, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compress photos packed --model ./kl")
    before = {path: path.read_bytes() for path in Path("packed").rglob("*.lae")}
    for path in before:
        path.write_bytes(b"as it was")
    capsys.readouterr()
    run("compress photos packed --model ./kl --skip-existing")
    assert capsys.readouterr().out == "0 files (3 more were there already)\n"
    assert {path.read_bytes() for path in before} == {b"as it was"}
    assert "2 more would be overwritten" in fail("compress photos packed --model ./kl")
    assert {path.read_bytes() for path in before} == {b"as it was"}
    run("compress photos packed --model ./kl --force")
    assert {path: path.read_bytes() for path in before} == before


def test_every_quality_is_a_size_and_one_is_taken_unasked(work: Path, run) -> None:
    sizes = []
    for name, rate in (("low", "--quality 0"), ("mid", ""), ("high", "--quality 63")):
        run(f"compress photos/a.png {name}.lae --model ./kl {rate}")
        sizes.append(Path(f"{name}.lae").stat().st_size)
    assert sizes == sorted(set(sizes))
