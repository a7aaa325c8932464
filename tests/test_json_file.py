from pathlib import Path

import pytest

from ldm_ae.errors import UserError
from ldm_ae.json_file import read_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": "\xe9"}', "not valid JSON"),
        (b"[]", "no mapping"),
        (b'{"a": 1e400}', "1e400 is not a finite number"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_mapping_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"file.json .*{message}"):
        read_json(path)


def test_missing_and_enormous_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_json(tmp_path / "none.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="has more than"):
        read_json(tmp_path / "large.json")
