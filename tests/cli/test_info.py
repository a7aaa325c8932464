"""What folders say of themselves; files are in test_codec_verbs.py."""

from pathlib import Path

import pytest

from ldm_ae.cli.main import main

RUN = "model: {kind: kl}\ndata: {path: photos}\ntrain: {steps: 40, precision: fp32}\n"


def test_a_run_says_how_far_it_is(tmp_path: Path, capsys) -> None:
    (tmp_path / "config.yaml").write_text(RUN)
    for name in ("step-00000010", "step-00000020", ".writing-step-00000030"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert main(["info", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kind: kl",
        "data: folder photos",
        "steps: 20 of 40",
        "checkpoints: 10, 20",
        "precision: fp32",
        "export: none yet",
    ]


@pytest.mark.parametrize(
    "content",
    ["model: {target: ldm.models.autoencoder.AutoencoderKL}\n", "train: 7\nmodel: {}\n"],
    ids=["LDM's", "broken"],
)
def test_another_config_is_no_run(content: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "config.yaml").write_text(content)
    assert main(["info", str(tmp_path)]) == 2
    assert "config.yaml is not that of a training run" in capsys.readouterr().err


def test_a_model_beside_another_config_is_a_model(tmp_path: Path, capsys) -> None:
    golden = Path(__file__).parents[1] / "codec" / "golden" / "kl_v1"
    (tmp_path / "config.json").write_bytes((golden / "config.json").read_bytes())
    (tmp_path / "config.yaml").write_text("model: {}\n")
    assert main(["info", str(tmp_path)]) == 0
    assert "class: AutoencoderKL\n" in capsys.readouterr().out


def test_a_folder_of_files_asks_for_one(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.lae").touch()
    assert main(["info", str(tmp_path)]) == 2
    assert "is a folder of .lae files: name one of them" in capsys.readouterr().err
