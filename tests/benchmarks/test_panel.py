"""benchmarks/panel.py from end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_three_rates_of_a_codec(
    start: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "panel.json"
    arguments = ["--images", "embedded", "--limit", "1", "--codecs", "jpeg", "--out", str(out)]
    start("panel.py", *arguments, "--weights", "missing", "--metrics", "psnr", "lpips_vgg")
    printed = capsys.readouterr()
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rows"]] == ["jpeg 5", "jpeg 11", "jpeg 22"]
    rates, decibels = ([row[key] for row in report["rows"]] for key in ("bpp", "psnr"))
    assert rates == sorted(rates) and decibels == sorted(decibels)
    assert report["rows"][0]["lpips_vgg"] is None
    assert "file missing" in report["rows"][0]["reasons"]["lpips_vgg"]
    assert set(report["milliseconds"]) == {"psnr"}
    assert {"commit", "versions", "hardware"} <= set(report)
    assert printed.out.startswith("| name | bpp | psnr | lpips_vgg |\n| --- | ---: | ---: | ---: |")
    assert "lpips_vgg is null: " in printed.err
