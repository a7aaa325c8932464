import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import yaml

from ldm_ae import hub
from ldm_ae.cli.main import main
from ldm_ae.digests import DIGESTS, digest_of, verify, write_digests
from ldm_ae.export.training_config import TRAINING_CONFIG

CARD = """\
---
library_name: diffusers
---
vae = AutoencoderKL.from_pretrained("path/to/this/folder")
model = ldm_ae.load("path/to/this/folder")
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text("{}")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    (folder / TRAINING_CONFIG).write_text("data: {path: /home/someone/photos, size: 64}\n")
    write_digests(folder)
    return folder


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a hub that accepts everything has been given."""
    files: dict[str, bytes] = {}

    class Hub:
        def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
            assert (name, private, exist_ok) == ("me/model", True, True)

        def create_commit(self, name: str, operations, commit_message: str) -> SimpleNamespace:
            for operation in operations:
                with operation.as_file() as content:
                    files[operation.path_in_repo] = content.read()
            return SimpleNamespace(repo_url=f"https://hub/{name}")

    monkeypatch.setattr(hub, "_api", Hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return files


def test_what_arrives_is_whole_and_its_card_names_the_hub(
    exported: Path, sent: dict[str, bytes], tmp_path: Path, capsys
) -> None:
    assert main(["push", str(exported), "me/model", "--license", "mit", "--private"]) == 0
    assert capsys.readouterr().out.endswith("https://hub/me/model\n")
    card = sent["README.md"].decode()
    assert 'from_pretrained("me/model")' in card
    assert 'ldm_ae.load("hub:me/model")' in card
    assert card.startswith("---\nlicense: mit\nlibrary_name: diffusers\n---\n")
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    for name, content in sent.items():
        (arrived / name).write_bytes(content)
    verify(arrived)
    noted = json.loads(sent[DIGESTS])["sha256"]
    assert noted["README.md"] == digest_of(card.encode())
    assert yaml.safe_load(sent[TRAINING_CONFIG]) == {"data": {"path": "photos", "size": 64}}
    assert sorted(sent) == sorted(path.name for path in exported.iterdir())
    assert (exported / "README.md").read_text() == CARD


def test_a_dry_run_needs_no_hub(exported: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(hub, "_api", lambda: pytest.fail("the hub was asked"))
    assert main(["push", str(exported), "me/model", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "7 bytes  diffusion_pytorch_model.safetensors" in shown
    assert shown.endswith("nothing was sent to me/model\n")


def without_weights(folder: Path) -> None:
    """Nor digests, which go after a change by hand."""
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    (folder / DIGESTS).unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "README.md").unlink(), "has no README.md"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (without_weights, "has no diffusion_pytorch_model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{ }"), "config.json is damaged"),
    ],
)
def test_what_is_no_whole_export_is_not_sent(spoil, says: str, exported, sent, capsys) -> None:
    spoil(exported)
    assert main(["push", str(exported), "me/model"]) == 2
    assert says in capsys.readouterr().err
    assert not sent


def test_a_wrong_name_a_refusal_and_no_network_are_one_line(
    exported: Path, sent, monkeypatch, capsys
) -> None:
    for more in ([], ["--dry-run"]):
        assert main(["push", str(exported), "model", *more]) == 2
        assert "model: a model on the hub is owner/model" in capsys.readouterr().err

    class Closed:
        def create_repo(self, *_, **__) -> None:
            raise OSError("401 Client Error: you must be logged in")

    monkeypatch.setattr(hub, "_api", Closed)
    assert main(["push", str(exported), "me/model"]) == 2
    assert "401" in (said := capsys.readouterr().err) and "hf auth login" in said
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(["push", str(exported), "me/model"]) == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err
