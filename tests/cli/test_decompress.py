from pathlib import Path

import pytest

from ldm_ae import zoo


def test_it_says_how_many_pixels_came_from_how_many_bytes(
    work: Path, run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compress photos packed --model ./kl")
    num_bytes = sum(path.stat().st_size for path in Path("packed").rglob("*.lae"))
    capsys.readouterr()
    run("decompress packed back --model ./kl")
    said = f"3 files, {3 * 48 * 72} pixels from {num_bytes} bytes\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("limit", "message"),
    [("--max-pixels 99", "max_pixels=99"), ("--max-memory few", "max_memory='few'")],
)
def test_limits_hold_for_the_model_that_wrote_the_file_too(
    limit: str, message: str, work: Path, run, fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the one taken without --model."""
    run("compress photos/a.png a.lae --model ./kl")
    monkeypatch.setattr(zoo, "written_by", lambda digest: work / "kl")
    assert message in fail(f"decompress a.lae b.png {limit}")
    run("decompress a.lae b.png")
    assert (work / "b.png").is_file()
