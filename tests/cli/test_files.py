import shutil
from pathlib import Path

import pytest
from PIL import Image

from ldm_ae.cli.files import for_each_file, one_file
from ldm_ae.cli.main import main
from ldm_ae.errors import UserError

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


def copy(source: Path, target: Path) -> None:
    if source.read_text() == "bad":
        raise UserError("cannot be read")
    target.write_text(source.read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for name, text in (("a", "good"), ("b", "bad"), ("c", "good")):
        (tmp_path / "in" / f"{name}.txt").write_text(text)
    return tmp_path


def test_a_folder_goes_on_after_a_bad_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = for_each_file(folder / "in", folder / "out", {".txt"}, ".new", copy)
    assert done.number == 2 and done.failed == [folder / "in" / "b.txt"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.new", "c.new"]
    assert f"error: {folder / 'in' / 'b.txt'}: cannot be read" in capsys.readouterr().err
    with pytest.raises(ValueError, match="1 of 3 files failed"):
        done.require_all()


def test_a_failure_of_the_system_ends_it(folder: Path) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        for_each_file(folder / "in", folder / "out", {".txt"}, ".new", full)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")],
)
def test_lack_of_memory_is_a_message_with_the_file(error: Exception) -> None:
    def hungry(source: Path, target: Path) -> None:
        raise error

    with pytest.raises(MemoryError, match=r"big\.png: there is not enough memory"):
        one_file(Path("big.png"), Path("big.lae"), hungry)


def test_other_runtime_errors_are_not_dressed_up() -> None:
    def broken(source: Path, target: Path) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        one_file(Path("a.png"), Path("a.lae"), broken)


def test_the_command_does_the_others_and_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "kl_v1", "kl")
    Path("photos").mkdir()
    Image.new("RGB", (16, 16), "teal").save("photos/a.png")
    Path("photos/b.png").write_bytes(b"no picture")
    assert main(["compress", "photos", "packed", "--model", "./kl"]) == 2
    assert [path.name for path in Path("packed").iterdir()] == ["a.lae"]
    shown = capsys.readouterr()
    assert "1 file, " in shown.out
    assert "photos/b.png: " in shown.err and "1 of 2 files failed" in shown.err
