"""The models of the package: found by name and by digest, whole, and never replaced."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldm_ae
from ldm_ae import zoo
from ldm_ae.cli.main import main
from ldm_ae.codec.codec import DEFAULT_QUALITY, Codec
from ldm_ae.codec.format import container
from ldm_ae.pretrained import Codecs, load_codec

GOLDEN = Path(__file__).parent / "codec" / "golden"
PICTURE = np.kron(
    np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8),
    np.ones((8, 8, 1), dtype=np.uint8),
)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Codec]]:
    """A package with two versions of one model and one of another."""
    folder = tmp_path / "zoo"
    made = {"codec-2": "kl_v1", "codec-10": "kl_context_v1", "vq-1": "vq_v1"}
    for name, golden in made.items():
        shutil.copytree(GOLDEN / golden, folder / name)
    monkeypatch.setattr(zoo, "FOLDER", folder)
    zoo.names.cache_clear()
    codecs = {name: load_codec(folder / name) for name in made}
    digests = {codec.digest.hex(): name for name, codec in codecs.items()}
    (folder / zoo.INDEX).write_text(json.dumps(digests))
    yield codecs
    zoo.names.cache_clear()


def test_a_bare_name_is_the_newest_version(two: dict[str, Codec]) -> None:
    assert sorted(zoo.names()) == ["codec", "codec-10", "codec-2", "vq", "vq-1"]
    assert zoo.folder_of("codec") == zoo.FOLDER / "codec-10"
    assert load_codec().digest == two["codec-10"].digest
    assert load_codec("codec-2").digest == two["codec-2"].digest


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("", "codec-10"),
        ("--bpp 1.5", "codec-fine-1"),
        ("--bpp 1.5 --model codec", "codec-10"),
        ("--quality 60", "codec-10"),
    ],
)
def test_a_high_rate_takes_the_finer_codec_unless_a_model_is_named(
    asked: str, name: str, two: dict[str, Codec], tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "kl_v1", zoo.FOLDER / "codec-fine-1")
    zoo.names.cache_clear()
    picture, packed = tmp_path / "a.png", tmp_path / "a.lae"
    Image.fromarray(PICTURE).save(picture)
    assert main(["compress", str(picture), str(packed), "--force", *asked.split()]) == 0
    digest = load_codec(name).digest
    assert container.read(packed.read_bytes()).header.digest == digest


def test_without_a_word_the_quality_is_where_the_default_codecs_curve_turns(
    two: dict[str, Codec], tmp_path: Path
) -> None:
    picture, packed = tmp_path / "a.png", tmp_path / "a.lae"
    Image.fromarray(PICTURE).save(picture)
    for asked, quality in (("", zoo.DEFAULT_QUALITY), ("--model codec", DEFAULT_QUALITY)):
        assert main(["compress", str(picture), str(packed), "--force", *asked.split()]) == 0
        assert container.read(packed.read_bytes()).header.quality == quality


def test_what_the_package_has_is_not_the_users_to_change(
    two: dict[str, Codec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ("calibrate codec --images .", "push codec me/codec --dry-run"):
        assert main(line.split()) == 2
        assert "copy it by `ldm-ae convert codec FOLDER`" in capsys.readouterr().err
    shutil.copytree(GOLDEN / "kl_v1", "codec")
    zoo.require_own(Path("codec"))
    assert main(["info", "codec-10"]) == 0
    assert "model of the package: codec-10" in capsys.readouterr().out


def test_a_users_folder_of_that_name_needs_its_path(
    two: dict[str, Codec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN / "vq_v1", tmp_path / "codec")
    monkeypatch.chdir(tmp_path)
    for place in ("./codec", Path("codec")):
        assert load_codec(place).digest == two["vq-1"].digest
    assert load_codec("codec").digest == two["codec-10"].digest
    with pytest.raises(ValueError, match="nothing has no config.json.* or one of codec"):
        ldm_ae.load("nothing")


def test_each_file_is_read_by_the_model_that_wrote_it(
    two: dict[str, Codec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("files").mkdir()
    for name, codec in two.items():
        Path("files", f"{name}.lae").write_bytes(codec.compress(PICTURE))
    assert main(["decompress", "files", "back"]) == 0
    for name, codec in two.items():
        data = Path("files", f"{name}.lae").read_bytes()
        with Image.open(f"back/{name}.png") as back:
            assert (np.asarray(back) == codec.decompress(data)).all()


def test_a_strangers_file_asks_for_its_model(two: dict[str, Codec]) -> None:
    data = load_codec(GOLDEN / "vq_context_v1").compress(PICTURE)
    with pytest.raises(ValueError, match=r"does not come with this package.*--model"):
        Codecs().that_wrote(data)


def test_another_models_file_names_the_one_that_wrote_it(two: dict[str, Codec]) -> None:
    data = two["vq-1"].compress(PICTURE)
    with pytest.raises(ValueError, match=r"written with model \w+ \(vq-1\).*\(codec-10\)"):
        two["codec-10"].decompress(data)


@pytest.mark.parametrize("folder", sorted(set(zoo.names().values())), ids=lambda path: path.name)
def test_a_model_of_the_package_is_the_one_its_digest_names(folder: Path) -> None:
    """Weights or priors that change would orphan every file written with them."""
    codec = load_codec(folder)
    assert zoo.written_by(codec.digest) == folder
    data = codec.compress(PICTURE)
    assert np.array_equal(Codecs().that_wrote(data).decompress(data), codec.decompress(data))
    assert (folder / "README.md").is_file() and (folder / "training_config.yaml").is_file()
