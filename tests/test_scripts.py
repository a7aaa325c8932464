"""The scripts as a user starts them: they explain themselves, and lead to `ldm-ae train`."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(script: str, *arguments: str) -> int:
    """The exit code of a script, run in this process, which has the large imports already."""
    sys.argv = [script, *arguments]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    return int(stop.value.code or 0)


@pytest.fixture(autouse=True)
def _as_from_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_every_script_explains_itself(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(script, "--help") == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "own", "other", "kinds"),
    [
        ("train_kl_ae.py", "kl_f8_small", "plain_f8_small", "kind plain, this script trains kl"),
        ("train_plain_ae.py", "plain_f8_small", "kl_f8", "kind kl, this script trains plain"),
        ("train_vq_ae.py", "vq_f8_small", "dvae_f8_small", "kind gumbel, this script trains vq"),
        ("train_dvae.py", "dvae_f8_small", "vq_f8", "kind vq, this script trains gumbel"),
    ],
)
def test_a_training_script_takes_its_own_kind(
    script: str, own: str, other: str, kinds: str, tmp_path: Path, capsys
) -> None:
    data = f"data.path={tmp_path / 'nowhere'}"
    assert run(script, "--config", own, data, "train.device=cpu") == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
    assert run(script, "--config", other, data) == 2
    assert kinds in capsys.readouterr().err


def test_a_mistake_ends_a_process_with_2_and_one_line(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "ldm_ae", "train", "--config", "kl_f9"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.startswith("error: config kl_f9 is neither")
    assert finished.stderr.count("\n") == 1
