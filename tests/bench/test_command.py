from pathlib import Path

import pytest

from ldm_ae import zoo
from ldm_ae.bench.command import finish, named_folders, one_line_errors
from ldm_ae.data.reading import Reader
from ldm_ae.errors import UserError


@pytest.mark.parametrize(
    "error", [UserError("--limit 0: use 1 or more"), FileNotFoundError(2, "none", "a.png")]
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(error: Exception, capsys) -> None:
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize("error", [ValueError("ours"), OSError("names no file")])
def test_a_fault_of_ours_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), one_line_errors():
        raise error


def test_images_left_out_are_told_at_the_end(tmp_path: Path, capsys) -> None:
    finish(Reader())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    reader = Reader()
    assert list(reader.images([tmp_path / "broken.png"])) == []
    with pytest.raises(SystemExit) as stop:
        finish(reader)
    assert stop.value.code == 2
    assert "1 of 1 images were left out" in capsys.readouterr().err


def test_folders_have_the_names_that_they_are_given() -> None:
    found = named_folders(["mine=runs/a/export", "runs/b", "kl"])
    assert found["mine"] == Path("runs/a/export") and found["b"] == Path("runs/b")
    assert zoo.folder_of("kl") in found.values()
    with pytest.raises(UserError, match=r"--model runs/c/b: a second b; say --model OTHER_NAME"):
        named_folders(["runs/b", "runs/c/b"])
