"""`ldm-ae inspect`: the card's files, and the page in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ldm_ae.cli.main import main

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    (folder / "photos").mkdir()
    for index, picture in enumerate((data.astronaut(), data.coffee())):
        Image.fromarray(picture[:48, 100:148]).save(folder / "photos" / f"{index}.png")
    kl, vq = GOLDEN / "kl_v1", GOLDEN / "vq_v1"
    command = ["inspect", kl, folder / "photos", "--beside", vq, "--beside", kl]
    command += ["--out", folder / "card", "--metrics", "psnr", "ssim"]
    assert main([str(part) for part in command]) == 0
    return folder / "card"


def test_numbers_pictures_and_one_page_that_stands_alone(card: Path) -> None:
    report = json.loads((card / "card.json").read_text())
    assert list(report["models"]) == ["kl_v1", "vq_v1", "kl_v1-2"] and {
        "commit",
        "versions",
    } <= set(report)
    kl, vq = report["models"]["kl_v1"], report["models"]["vq_v1"]
    assert kl["scores"]["psnr"] > 0 and kl["equivariance"]["mirror"]["latent_error"] > 0
    assert len(kl["statistics"]["kl_nats"]) == kl["latent_channels"] == len(kl["correlation"])
    assert sum(vq["code_counts"]) == vq["statistics"]["num_positions"]
    for name, found in report["models"].items():
        for pictures in found["pictures"].values():
            assert pictures and all((card / name / picture).is_file() for picture in pictures)
    assert "codebook" in vq["pictures"] and "codebook" not in kl["pictures"]
    page = (card / "index.html").read_text()
    sources = re.findall(r'src="([^"]{0,22})', page)
    assert sources and set(sources) == {"data:image/png;base64,"}
    assert "http" not in page and "codes in use" in page and "PSNR, dB" in page


def test_mistakes(work: Path, fail) -> None:
    (work / "taken").write_text("")
    assert "--out taken is a file" in fail("inspect ./kl photos --out taken")
    assert "are too small: kl needs" in fail("inspect ./kl photos --out card --side 8")
    assert not list(work.glob("card/**/*.png"))


def test_the_slider_uncovers_the_original_in_a_browser(card: Path, browse) -> None:
    with browse(card / "index.html") as browser:
        cut = "getComputedStyle(document.querySelector('.over')).clipPath"
        assert browser.value("document.querySelectorAll('.slider').length") == 6
        assert "50%" in browser.value(cut)
        browser.value("document.querySelector('.slider input').scrollIntoView({block: 'center'})")
        place = "document.querySelector('.slider input').getBoundingClientRect()"
        box = {
            side: browser.value(f"{place}.{side}") for side in ("left", "top", "width", "height")
        }
        browser.drag(
            (box["left"] + box["width"] / 2, box["top"] + box["height"] / 2),
            (box["left"] + box["width"] - 1, box["top"] + box["height"] / 2),
        )
        assert "100%" in browser.value(cut)
        # every picture came out of the page itself
        assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
