import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm_ae.cli.main import main
from ldm_ae.codec.format import container
from ldm_ae.codec.priors.file import PRIOR_FILE
from ldm_ae.pretrained import load_codec


def test_one_file_there_and_back(work: Path, capsys: pytest.CaptureFixture[str], run) -> None:
    run("compress photos/a.png a.lae --model ./kl --quality 63")
    size = (work / "a.lae").stat().st_size
    assert f"1 file, {size} bytes, {size * 8 / (48 * 72):.4f} bpp" in capsys.readouterr().out
    run("decompress a.lae back/a.png --model ./kl")
    with Image.open("back/a.png") as back:
        assert back.size == (72, 48) and back.mode == "RGB"
        wanted = load_codec("./kl").decompress((work / "a.lae").read_bytes())
        assert (np.asarray(back) == wanted).all()
    run("decompress a.lae a.webp --model ./kl")
    with Image.open("a.webp") as back:
        assert (np.asarray(back) == wanted).all(), "WebP without loss"


def test_bpp_bounds_the_file(work: Path, run) -> None:
    run("compress photos/a.png fine.lae --model ./kl --quality 63")
    run("compress photos/a.png a.lae --model ./kl --bpp 2.0")
    size = (work / "a.lae").stat().st_size
    assert size * 8 / (48 * 72) <= 2.0 < (work / "fine.lae").stat().st_size * 8 / (48 * 72)


def test_folders_there_and_back(work: Path, capsys: pytest.CaptureFixture[str], run) -> None:
    run("compress photos packed --model ./vq")
    names = sorted(str(path.relative_to("packed")) for path in Path("packed").rglob("*.lae"))
    assert names == ["a.lae", "c.lae", "more/b.lae"]
    assert "3 files, " in capsys.readouterr().out
    run("decompress packed back --model ./vq")
    modes = {}
    for path in Path("back").rglob("*.png"):
        with Image.open(path) as image:
            modes[path.name] = image.mode
    assert modes == {"a.png": "RGB", "b.png": "RGBA", "c.png": "L"}


def test_info_needs_no_model(work: Path, capsys: pytest.CaptureFixture[str], run) -> None:
    run("compress photos/more/b.png b.lae --model ./kl --quality 7")
    run("info b.lae")
    out = capsys.readouterr().out
    for line in ("quality: 7", "size: 72x48", "holds: latents", "colour: colour"):
        assert line in out
    assert f"model: {load_codec('./kl').digest.hex()}" in out and "alpha: no" not in out


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        (
            "./kl",
            ["class: AutoencoderKL", "latent channels: 4", "codes: none", "codec's prior: yes"],
        ),
        ("./vq", ["class: VQModel", "codes: 32"]),
        ("codec", ["kind: kl", "latent channels: 4"]),
        ("photos", ["error"]),
        ("run", ["kind: kl", "steps: 40 of 100", "checkpoints: 20, 40", "export: none yet"]),
    ],
)
def test_info_of_models_and_runs(
    work: Path, what: str, lines: list[str], capsys: pytest.CaptureFixture[str], run, fail
) -> None:
    for step in (20, 40):
        (work / "run" / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (work / "run" / "config.yaml").write_text("model: {kind: kl}\ntrain: {steps: 100}\n")
    if lines == ["error"]:
        assert "photos has no config.json" in fail(f"info {what}")
        return
    run(f"info {what}")
    printed = capsys.readouterr().out.splitlines()
    assert set(lines) <= set(printed)


def test_calibrate_gives_a_foreign_folder_its_prior(work: Path, run, fail) -> None:
    for name in ("kl", "vq"):
        (work / name / PRIOR_FILE).unlink()
        message = fail(f"compress photos/a.png a.lae --model ./{name}")
        assert "ldm-ae calibrate" in message
        run(f"calibrate ./{name} --images photos --prior factorised")
        run(f"compress photos/a.png {name}.lae --model ./{name}")
        run(f"decompress {name}.lae a.png --force --model ./{name}")


def test_calibrating_again_keeps_the_prior_that_files_need(work: Path, run, fail) -> None:
    run("compress photos/a.png a.lae --model ./kl")
    digest = container.read((work / "a.lae").read_bytes()).header.digest
    current, kept = work / "kl" / PRIOR_FILE, work / "kl" / f"prior.{digest.hex()}.safetensors"
    before = current.read_bytes()
    for _ in range(2):  # the second time the same prior comes: there is nothing to keep
        run("calibrate ./kl --images photos --prior factorised")
        assert sorted(path.name for path in current.parent.glob("prior.*")) == sorted(
            [kept.name, PRIOR_FILE]
        )
    assert kept.read_bytes() == before != current.read_bytes()
    run("decompress a.lae back.png --model ./kl")  # the kept one is found by the file's digest
    kept.write_bytes(current.read_bytes())
    assert f"was written with model {digest.hex()}" in fail("decompress a.lae a.png --model ./kl")
    kept.unlink()
    assert f"was written with model {digest.hex()}" in fail("decompress a.lae a.png --model ./kl")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compress photos/none.png a.lae --model ./kl", "none.png"),
        ("compress photos/a.png photos/c.jpg --model ./kl", "c.jpg: name a file that ends in .lae"),
        ("compress nowhere packed --model ./kl", "nowhere: no such file or folder"),
        ("compress broken.png a.lae --model ./kl", "broken.png: "),
        ("compress empty packed --model ./kl", "source=empty holds no image files"),
        ("compress photos/a.png a.lae --model none", "none has no config.json"),
        ("compress photos/a.png a.lae --model ./kl --quality 64", "quality=64"),
        ("compress photos/a.png a.lae --model ./kl --bpp 1e-6", "too few"),
        ("compress photos/a.png a.lae --model ./vq --quality 3", "one rate"),
        ("compress photos/a.png a.lae --model ./kl --bpp 1 --quality 3", "not allowed with"),
        ("compress photos/a.png a.lae --model ./kl --device moon", "--device moon"),
        ("compress twins packed --model ./kl", "would both become"),
        ("decompress good.lae a.png --model ./vq", "was written with model"),
        ("decompress good.lae a.jpg --model ./kl", "name a file that ends in"),
        ("decompress cut.lae a.png --model ./kl", "cut.lae: this .lae file is cut short"),
        ("decompress good.lae a.png --model ./kl --max-pixels 9", "max_pixels=9"),
        ("decompress good.lae a.ppm --model ./kl", "name a file that ends in"),
        ("compress photos good.lae --model ./kl", "good.lae is a file, and photos a folder"),
        ("info broken.png", "broken.png: this is no .lae file"),
        ("calibrate ./kl --images empty", "--images=empty holds no image files"),
        ("calibrate ./kl --images photos --max-images 0", "--max-images 0"),
    ],
)
def test_mistakes_end_with_one_message_and_leave_nothing(
    work: Path, line: str, message: str, run, fail
) -> None:
    (work / "broken.png").write_bytes(b"no picture")
    (work / "empty").mkdir()
    (work / "twins").mkdir()
    for name in ("a.png", "a.jpg"):
        shutil.copy("photos/a.png", work / "twins" / name)
    run("compress photos/a.png good.lae --model ./kl")
    (work / "cut.lae").write_bytes((work / "good.lae").read_bytes()[:-9])
    before = sorted(work.rglob("*"))
    assert message in fail(line)
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("verb", ["compress", "calibrate", "evaluate"])
def test_broken_files_are_left_out_and_the_exit_code_says_so(
    work: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("cut.png", Path("photos/a.png").read_bytes()[:300]), ("void.jpg", b"")):
        (work / "photos" / name).write_bytes(content)
    line = {
        "compress": "compress photos packed --model ./kl",
        "calibrate": "calibrate ./kl --images photos --prior factorised",
        "evaluate": "evaluate ./kl photos --metrics psnr --out scores.json",
    }[verb]
    before = (work / "kl" / PRIOR_FILE).read_bytes()
    assert main(line.split()) == 2
    printed = capsys.readouterr().err
    assert "2 of 5" in printed
    for name in ("cut.png", "void.jpg"):
        assert any(name in text for text in printed.splitlines())
    if verb == "compress":
        names = sorted(path.name for path in Path("packed").rglob("*.lae"))
        assert names == ["a.lae", "b.lae", "c.lae"]
    elif verb == "calibrate":
        assert (work / "kl" / PRIOR_FILE).read_bytes() != before
    else:
        (row,) = json.loads((work / "scores.json").read_text())["rows"]
        assert row["num_images"] == 3


def test_further_frames_are_counted_and_large_pictures_have_a_switch(
    work: Path, capsys: pytest.CaptureFixture[str], run, fail
) -> None:
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 99)]
    frames[0].save(work / "photos" / "moving.gif", save_all=True, append_images=frames[1:])
    run("compress photos packed --model ./kl")
    assert "of 1 files only the first frame or page was used" in capsys.readouterr().err
    message = "compress photos/a.png large.lae --model ./kl --max-pixels 99"
    assert "72x48 is more than 99 pixels (max_pixels)" in fail(message)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_are_compressed_too(work: Path, capsys: pytest.CaptureFixture[str], run) -> None:
    odd = [os.fsdecode(b"caf\xe9.png"), "x" * 251 + ".png", "li\nne.png", "y" * 250 + ".jpeg"]
    for name in odd:
        shutil.copyfile("photos/a.png", work / "photos" / name)
    (work / "photos" / odd[0].replace("caf", "bad")).write_bytes(b"")
    assert main(["compress", "photos", "packed", "--model", "./kl"]) == 2
    assert "1 of 8 files failed" in capsys.readouterr().err
    made = {path.stem for path in Path("packed").rglob("*.lae")}
    assert made == {"a", "b", "c"} | {Path(name).stem for name in odd}
    run("decompress packed back --model ./kl")
    assert len(list(Path("back").rglob("*.png"))) == 7


def test_a_folder_goes_on_where_it_was_left(
    work: Path, run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compress photos out --model ./kl")
    kept, changed = work / "out" / "a.lae", work / "photos" / "c.jpg"
    kept.write_bytes(b"as it was")
    (work / "out" / "more" / "b.lae").unlink()
    later = (work / "out" / "c.lae").stat().st_mtime + 10
    os.utime(changed, (later, later))
    capsys.readouterr()
    run("compress photos out --model ./kl --skip-existing")
    assert "2 files (1 more were there already)" in capsys.readouterr().out
    assert kept.read_bytes() == b"as it was" and (work / "out" / "more" / "b.lae").is_file()


@pytest.mark.parametrize(
    ("name", "widths"), [("AsymmetricAutoencoderKL", "64"), ("AutoencoderTiny", "64, 64, 64, 64")]
)
def test_info_of_small_decoders(
    name: str, widths: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], run
) -> None:
    (tmp_path / "config.json").write_text(f'{{"_class_name": "{name}"}}')
    run(f"info {tmp_path}")
    printed = capsys.readouterr().out.splitlines()
    assert {f"class: {name}", f"decoder's channels by level: {widths}"} <= set(printed)
