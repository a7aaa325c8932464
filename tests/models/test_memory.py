import os
from pathlib import Path

import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.models import memory
from ldm_ae.models.memory import Workspace, in_units, num_bytes

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (1, 1),
        (2_000_000_000, 2_000_000_000),
        ("2GB", 2_000_000_000),
        ("2 GiB", 2 << 30),
        ("1.5gb", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("7kb", 7000),
        ("64", 64),
        (" 64 B", 64),
    ],
)
def test_sizes_are_read(text, wanted: int) -> None:
    assert num_bytes(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        0,
        -1,
        True,
        1.5,
        None,
        "",
        "GB",
        "2 apples",
        "-1GB",
        "2G B",
        "nan",
        "0GB",
        "1e9",
        "٢GB",
        "9" * 400,
    ],
)
def test_what_is_no_size_is_named(text) -> None:
    with pytest.raises(UserError, match="max_memory=.*use a number of bytes") as error:
        num_bytes(text)
    assert repr(text) in str(error.value)


def test_sizes_are_shown() -> None:
    assert [in_units(n) for n in (12, 4_300, 2.5e6, 8.6e9, 4e12)] == [
        "0.012 kB",
        "4.3 kB",
        "2.5 MB",
        "8.6 GB",
        "4e+03 GB",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("in_memory", [0, 1, 37, 99, 100, 5000])
def test_values_come_back_wherever_they_lie(in_memory: int, dtype: torch.dtype) -> None:
    values = torch.randn(100).to(dtype)
    with Workspace(in_memory * dtype.itemsize, CPU) as space:
        storage = space.store(100, dtype)
        for start, stop in ((60, 100), (0, 30), (30, 60)):
            storage.write(start, values[start:stop])
        for start, stop in ((0, 100), (20, 50), (36, 38), (37, 40), (99, 100), (5, 5)):
            assert torch.equal(storage.read(start, stop), values[start:stop])


def test_memory_that_is_released_is_used_again(tmp_path: Path, monkeypatch) -> None:
    files = []
    monkeypatch.setattr(memory, "_nameless_file", lambda size: files.append(size))
    space = Workspace(400, CPU)
    first = space.store(60, torch.float32)
    space.store(60, torch.float32)
    assert files == [20 * 4]
    space.release(first)
    space.store(60, torch.float32)
    assert len(files) == 1


def test_files_have_no_name_and_are_closed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(memory.tempfile, "tempdir", None)
    with pytest.raises(KeyboardInterrupt), Workspace(0, CPU) as space:
        storage = space.store(1000, torch.float32)
        storage.write(0, torch.ones(1000))
        assert open_in(tmp_path) == 1 and list(tmp_path.iterdir()) == []
        raise KeyboardInterrupt
    assert open_in(tmp_path) == 0


def open_in(folder: Path) -> int:
    """Files of this process there, named or not."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("only Linux lists a process's files")
    targets = []
    for descriptor in descriptors.iterdir():
        try:
            targets.append(os.readlink(descriptor))
        except OSError:
            continue  # the listing's own
    return sum(target.startswith(str(folder)) for target in targets)


def test_a_full_disk_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory.os, "posix_fallocate", full, raising=False)
    with (
        Workspace(0, CPU) as space,
        pytest.raises(UserError, match=r"4 MB of activations exceed max_memory.*TMPDIR"),
    ):
        space.store(1_000_000, torch.float32)


def test_tmpdir_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert memory._spill_folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert memory._spill_folder() != tmp_path
