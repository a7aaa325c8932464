import math
import subprocess
from pathlib import Path

import pytest
import torch

from ldm_ae.bench import report
from ldm_ae.bench.report import format_table, markdown_table, provenance, write_json


def test_provenance_names_what_a_number_depends_on() -> None:
    found = provenance()
    assert set(found) == {"commit", "versions", "hardware"}
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "diffusers", "lpips", "Pillow"} <= set(found["versions"])
    assert found["hardware"]["cpu"] and found["hardware"]["cores"] >= 1


def test_commit_is_the_packages_own_and_says_if_files_differ(tmp_path: Path, monkeypatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *identity, *arguments]
        result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return result.stdout.strip()

    module = tmp_path / "package" / "report.py"
    module.parent.mkdir()
    module.write_text("pass\n")
    monkeypatch.setattr(report, "__file__", str(module))
    git("init", "-q")
    assert report.commit() is None  # somebody else's repository
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert report.commit() == head
    module.write_text("changed\n")
    assert report.commit() == f"{head}-dirty"


def test_json_is_strict_and_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"psnr": math.inf})
    assert not path.exists()
    write_json(path, {"psnr": 1.5})
    assert path.read_text() == '{\n  "psnr": 1.5\n}\n'
    assert [child.name for child in path.parent.iterdir()] == ["report.json"]


def test_table_aligns_numbers_and_shows_what_is_missing() -> None:
    rows = [{"name": "a", "psnr": 9.876, "bpp": 1.0}, {"name": "long", "psnr": None, "bpp": 0.25}]
    assert format_table(rows, {"name": "s", "psnr": ".2f", "bpp": ".2f"}).splitlines() == [
        "name  psnr   bpp",
        "a     9.88  1.00",
        "long   n/a  0.25",
    ]
    assert markdown_table(rows, {"name": "s", "bpp": ".2f"}).splitlines() == [
        "| name | bpp |",
        "| --- | ---: |",
        "| a | 1.00 |",
        "| long | 0.25 |",
    ]
