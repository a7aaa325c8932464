"""When a run is saved for its score, and what is then the best."""

from pathlib import Path

import pytest

import ldm_ae.train.loop as loop
from ldm_ae.train.checkpoint import save_checkpoint
from ldm_ae.train.export_run import export_run
from ldm_ae.train.loop import train


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch):
    """scored(10.0, 30.0): what the next validations find, in dB"""

    def give(*psnrs: float) -> None:
        left, real = iter(psnrs), loop.validate

        def validate(*arguments):
            scores, grid = real(*arguments)
            return scores | {"psnr": next(left)}, grid

        monkeypatch.setattr(loop, "validate", validate)

    return give


def test_the_best_is_saved_at_once_and_can_be_exported(
    make_experiment, scored, tmp_path: Path
) -> None:
    scored(10.0, 30.0, 20.0, 25.0, 15.0)
    settings = (
        "train.validate_every=1",
        "train.checkpoint_every=10",
        "train.keep_checkpoints=1",
        "train.best_metric=psnr",
    )
    experiment = make_experiment("train.steps=3", *settings)
    train(experiment)
    run = Path(experiment.train.run_dir)
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003"]
    export_run(run, tmp_path / "best", checkpoint="best", max_images=2)
    assert "| checkpoint | step-00000002 |" in (tmp_path / "best" / "README.md").read_text()
    # 25 and 15 do not beat the 30 from before the resume.
    train(make_experiment("train.steps=5", *settings), "latest")
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000005"]


def test_the_best_may_be_one_that_was_due_anyway(
    make_experiment, scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(10.0, 30.0, 20.0, 15.0)
    saved = []

    def recorded(run_dir, state, progress, *rest, **named):
        saved.append(progress.step)
        return save_checkpoint(run_dir, state, progress, *rest, **named)

    monkeypatch.setattr("ldm_ae.train.keeper.save_checkpoint", recorded)
    train(make_experiment("train.validate_every=1", "train.best_metric=psnr"))
    assert saved == [1, 2, 4]  # 20 at step 3 does not beat the 30 of step 2
