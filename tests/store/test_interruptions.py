"""Runs that a kill or a full disk cuts short, and stores that lose a part: the next run makes
them whole."""

import errno
import os
from pathlib import Path

import pytest

import ldm_ae.store.layouts as layouts
import ldm_ae.store.parts as parts
import ldm_ae.store.run as running
from ldm_ae.errors import UserError
from ldm_ae.store.job import Job
from ldm_ae.store.latent_store import LatentStore
from ldm_ae.store.run import encode_dataset


class Killed(BaseException):
    pass


def run_killed(job: Job, out: Path, module, after: int) -> None:
    """Ends at the start of the file after so many, and leaves what SIGKILL would: half of that
    file, under the name of a process that is no more. tests/bench has real ones."""
    write, left = module.write_through, [after]

    def count(path: Path, content: bytes) -> None:
        if left[0] == 0:
            over = path.with_name(path.name.replace(f"-{os.getpid()}", f"-{2**22 + 1}"))
            assert over != path
            over.write_bytes(content[: len(content) // 2])
            raise Killed
        left[0] -= 1
        write(path, content)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "write_through", count)
        patch.setattr(running, "_clear", lambda folder: None)
        encode_dataset(job, out, threads=1)
    assert list(out.rglob(f".*-{2**22 + 1}*"))


def num_readable(folder: Path) -> int:
    try:
        return len(LatentStore(folder))
    except UserError:  # no shard is whole yet
        return 0


def test_killed_runs_end_with_the_bytes_of_one_that_was_not(
    layout: str, make_job, encode, contents, tmp_path: Path
) -> None:
    job = make_job(layout=layout)
    encode(job, "untouched")
    for _ in range(2):  # of 8 pictures in 3 shards
        run_killed(job, tmp_path / "out", layouts, 1)
        run_killed(job, tmp_path / "out", parts, 0)
        assert num_readable(tmp_path / "out") < 8
    encode(job)
    assert contents(tmp_path / "out") == contents(tmp_path / "untouched")


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_update_that_was_killed_is_made_again(
    where: int, make_job, encode, contents, photos: Path, tmp_path: Path, save_picture
) -> None:
    """Between the notes that a shard is being replaced, the shard, and its new index; then the
    edit is taken back."""
    encode(make_job())
    untouched = contents(tmp_path / "out")
    original = (photos / "cat" / "1.png").read_bytes()
    save_picture(photos / "cat" / "1.png", 77)
    module, after = [(parts, 0), (layouts, 0), (parts, 1)][where]
    run_killed(make_job(), tmp_path / "out", module, after)
    (photos / "cat" / "1.png").write_bytes(original)
    encode(make_job())
    assert contents(tmp_path / "out") == untouched


def test_lost_shards_are_made_again(make_job, encode, contents, tmp_path: Path) -> None:
    encode(make_job())
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").unlink()
    (tmp_path / "out" / "shard-00002.parquet").write_bytes(b"cut short")
    encode(make_job())
    assert contents(tmp_path / "out") == before


def test_a_full_disk_leaves_what_was_done(
    make_job, encode, ids, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = layouts.write_through, [1]

    def full(path: Path, content: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        write(path, content)

    monkeypatch.setattr(layouts, "write_through", full)
    with pytest.raises(OSError, match="No space"):
        encode(make_job())
    monkeypatch.undo()
    assert len(ids(tmp_path / "out")) == 3
    assert not [path for path in (tmp_path / "out").rglob(".*-*")]
    encode(make_job())
    assert len(ids(tmp_path / "out")) == 8
