import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "run_day.py"


@pytest.mark.slow
def test_whatever_befalls_a_run_it_ends_as_if_nothing_had(tmp_path: Path) -> None:
    out = tmp_path / "day.json"
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout[-1500:] + finished.stderr[-3000:]
    scenes = json.loads(out.read_text())["scenes"]
    assert {scene.get("equal", True) for scene in scenes.values()} == {True}
    assert scenes["two starts at once"]["second"]["exit"] == 2
    assert "is in use by process" in scenes["two starts at once"]["second"]["said"][-1]
    for phase, code in (("data", 143), ("step", 75), ("checkpoint", 75), ("export", 143)):
        scene = scenes[f"SIGTERM, {phase}"]
        assert scene["stopped"]["exit"] == code and scene["left"] == [], phase
    assert "2 images could not be used" in str(scenes["images removed, overwritten"])
