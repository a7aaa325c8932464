import json
import subprocess
from pathlib import Path

import pytest

from ldm_ae.digests import DIGESTS, DamagedError, amending, verify, write_digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(b"first")
    (tmp_path / "b.bin").write_bytes(b"second")
    write_digests(tmp_path)
    return tmp_path


def flip(path: Path, bit: int = 12) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_whole_files_pass_and_are_those_of_sha256sum(folder: Path) -> None:
    verify(folder)
    noted = json.loads((folder / DIGESTS).read_text())["sha256"]
    shown = subprocess.run(["sha256sum", folder / "a.bin"], capture_output=True, text=True).stdout
    assert shown.startswith(noted["a.bin"])


@pytest.mark.parametrize("name", ["a.bin", "b.bin"])
def test_one_flipped_bit_is_found_and_named(folder: Path, name: str) -> None:
    flip(folder / name)
    with pytest.raises(DamagedError, match=rf"/{name} is damaged"):
        verify(folder)
    verify(folder, {"a.bin", "b.bin"} - {name})


def test_every_bit_of_the_digests_themselves_counts(folder: Path) -> None:
    whole = (folder / DIGESTS).read_bytes()
    harmless = 0
    for bit in range(0, 8 * len(whole), 7):
        flip(folder / DIGESTS, bit)
        try:
            verify(folder)
        except DamagedError as error:
            assert f"{DIGESTS} is damaged" in str(error)
        else:  # one space for another, or the case of a \\u escape
            assert json.loads((folder / DIGESTS).read_text()) == json.loads(whole)
            harmless += 1
        (folder / DIGESTS).write_bytes(whole)
    assert harmless < len(whole) / 7


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "b.bin").unlink()
    with pytest.raises(DamagedError, match=r"b\.bin is missing"):
        verify(folder)


def test_folders_without_digests_pass(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"first")
    verify(tmp_path)
    verify(tmp_path, ["a.bin", "nothing"])


def test_a_file_is_replaced_with_its_digest(folder: Path) -> None:
    with amending(folder, "a.bin"):
        (folder / "a.bin").write_bytes(b"third")
        verify(folder)  # also if a kill came here
    verify(folder)
    flip(folder / "a.bin")
    with pytest.raises(DamagedError):
        verify(folder)
