"""Every script starts, and says how; the quick ones run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_command(script: str, start: Callable[..., None], capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        start(script, "--help")
    assert stop.value.code == 0
    assert f"python benchmarks/{script} --" in capsys.readouterr().out


QUICK = {
    "attack.py": (
        ["--files", "12", "--kind", "config.json"],
        ["kinds", "config.json", "vq_v1", "num_files"],
        12,
    ),
    "codec_speed.py": (["--side", "64", "--count", "1", "--rounds", "1"], ["side"], 64),
}


@pytest.mark.parametrize("script", QUICK)
def test_a_quick_one_writes_its_report(
    script: str, start: Callable[..., None], tmp_path: Path
) -> None:
    options, keys, value = QUICK[script]
    Image.fromarray(data.astronaut()[:80, :80]).save(tmp_path / "photo.png")
    if script == "codec_speed.py":
        options = [*options, "--images", str(tmp_path)]
    out = tmp_path / "report.json"
    start(script, "--model", str(GOLDEN / "vq_v1"), "--out", str(out), *options)
    report = json.loads(out.read_text())
    assert {"commit", "versions", "hardware"} <= set(report)
    for key in keys:
        report = report[key]
    assert report == value
