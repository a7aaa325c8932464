"""Hostile models, files and configs: the sound ones are read, the model they are made of stays as
it is, and what would run code is refused."""

from pathlib import Path

import numpy as np
import pytest

from ldm_ae.bench import attack_targets
from ldm_ae.codec.format import container
from ldm_ae.errors import UserError
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
FILES = {
    "config_json": "config.json",
    "safetensors": "diffusion_pytorch_model.safetensors",
    "prior": "prior.safetensors",
    "pickled": "diffusion_pytorch_model.bin",
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_go_into_a_copy(name: str, tmp_path: Path) -> None:
    model = GOLDEN / "vq_v1"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    target = getattr(attack_targets, name)(model, tmp_path)
    target.read(target.whole[0])
    with pytest.raises(UserError):
        target.read(b"nothing of the kind")
    assert (tmp_path / "model" / FILES[name]).read_bytes() == b"nothing of the kind"
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_every_odd_pickle_is_refused_and_none_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = attack_targets.pickled(GOLDEN / "vq_v1", tmp_path)
    whole, stretched, *odd = target.whole
    target.read(whole)
    target.read(stretched)  # of the right shapes
    assert len(odd) == 9
    for number, data in enumerate(odd):
        with pytest.raises(UserError):
            target.read(data)
            pytest.fail(f"pickle {number} was read")
    assert "code ran" not in capsys.readouterr().out


def test_small_pictures_of_every_kind_are_packed_at_several_qualities() -> None:
    codec = load_codec(GOLDEN / "kl_v1")
    files = [container.read(data) for data in attack_targets.pictures(codec)]
    kinds = {(file.header.quality, file.header.grey, file.alpha is not None) for file in files}
    wanted = [(False, False), (False, True), (True, False)]
    assert kinds == {(quality, *kind) for quality in (0, 40, 63) for kind in wanted}


def test_a_plausible_header_leads_to_the_payload() -> None:
    codec = load_codec(GOLDEN / "kl_v1")
    whole = max(attack_targets.pictures(codec), key=lambda data: (not data[12] & 4, len(data)))
    damaged = b"XYZ" + whole[3:5] + b"another" + whole[12:18] + b"\xff" * 4 + whole[22:-7]
    data = attack_targets.with_plausible_header(damaged, codec.digest)
    assert data[:18] == whole[:18]
    assert int.from_bytes(data[18:22], "little") == len(data) - 26 > 40
    assert whole[22:].startswith(data[22:-4])


def test_every_shipped_small_config_is_turned_odd(tmp_path: Path) -> None:
    target, rng = attack_targets.yaml(GOLDEN, tmp_path), np.random.default_rng(0)
    kinds = {target.read(data).model.kind for data in target.whole}
    assert kinds == {"kl", "plain", "discrete"}
    assert target.hostile(target.whole, rng) not in target.whole
