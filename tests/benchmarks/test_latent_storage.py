"""benchmarks/latent_storage.py from end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


def test_every_way_is_measured_against_uncoded_latents(
    tmp_path: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--images", "embedded", "--size", "64", "--metrics", "psnr", "ssim"]
    arguments += ["--qualities", "40", "50", "--out", "storage.json"]
    start("latent_storage.py", "--model", str(GOLDEN / "kl_v1"), *arguments)
    rows = {row["name"]: row for row in json.loads(Path("storage.json").read_text())["rows"]}
    assert rows["fp32"]["psnr_lost"] == rows["fp32"]["ssim_lost"] == 0
    assert rows["int8"]["of_int8"] == 1
    ours, finer = rows["ours, quality 40"], rows["ours, quality 50"]
    assert ours["bytes"] < finer["bytes"] < rows["fp16"]["bytes"]
    assert ours["psnr_lost"] > finer["psnr_lost"]
    bits = 32 * ours["bytes"] / rows["fp32"]["bytes"]
    assert ours["bits_per_value"] == pytest.approx(bits, rel=0.1)


def test_a_model_of_indices_has_nothing_to_store(
    tmp_path: Path, start: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="error: a model of code indices"):
        start("latent_storage.py", "--model", str(GOLDEN / "vq_v1"), "--images", "embedded",
              "--size", "64", "--out", "x.json")  # fmt: skip
    assert list(tmp_path.iterdir()) == []
