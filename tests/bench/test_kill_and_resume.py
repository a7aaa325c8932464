import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout[-1500:] + finished.stderr[-3000:]
    (result,) = json.loads(out.read_text()).values()
    assert result["equal"] and result["kills"] == 3
    assert result["untouched"] == result["killed"]
    assert len(result["untouched"]) == 5
