from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from ldm_ae.bench.entropy_stage import analyse, compare_priors, measure, middle_crops, random_crops
from ldm_ae.convert.load import load
from ldm_ae.data.reading import Reader
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(4):
        pixels = data.astronaut()[64 * index : 64 * (index + 1), : 40 + 20 * index]
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return tmp_path


def test_bits_are_the_payloads_and_more_than_the_cross_entropy(photos: Path) -> None:
    codec = load_codec(GOLDEN / "kl_v1")
    items = [analyse(codec.model, image) for image in middle_crops(photos, 2, 60, Reader())]
    row = measure(codec.content, items, 40, nearest=True, rounds=2)
    _, payload = codec.content.pack(items[0], 40, lagrangian=0)
    alone = measure(codec.content, items[:1], 40, nearest=True)
    assert alone["bits_per_value"] == 8 * len(payload) / items[0].size
    assert row["values"] == items[0].size and row["excess"] > 0
    assert row["encode_s"] > 0 and row["decode_s"] > 0
    chosen = measure(codec.content, items, 40)
    assert chosen["bits_per_value"] < row["bits_per_value"]  # of symbols worth their bits


def test_other_symbols_are_noticed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = load_codec(GOLDEN / "vq_v1").content
    items = [analyse(content.model, image) for image in middle_crops(photos, 1, 60, Reader())]
    monkeypatch.setattr(type(content), "unpack", lambda *_: items[0] + 1)
    with pytest.raises(ValueError, match="decoded symbols differ"):
        measure(content, items, 0)


def test_priors_are_compared_with_the_first_and_with_whole_bits(photos: Path) -> None:
    model = load(GOLDEN / "vq_v1")
    items = [analyse(model, image) for image in middle_crops(photos, 3, 40, Reader())]
    priors, (row,) = compare_priors(model, items, items, [], kinds=["factorised"])
    assert list(priors) == [row["prior"]] and row["saved"] == 0
    assert row["saved_of_fixed"] == 1 - row["bits_per_value"] / row["fixed_bits"]
    model = load(GOLDEN / "kl_v1")
    items = [analyse(model, image) for image in middle_crops(photos, 3, 40, Reader())]
    _, rows = compare_priors(model, items, items, [20, 40], kinds=["factorised"])
    assert [row["quality"] for row in rows] == ["20", "40"]
    assert rows[0]["bits_per_value"] < rows[1]["bits_per_value"]


def test_crops_have_their_size_and_lie_inside(photos: Path) -> None:
    middles = middle_crops(photos, 9, 60, Reader())
    assert [crop.shape for crop in middles] == [(60, 60, 3)] * 3  # one is too narrow
    assert np.array_equal(middles[0], data.astronaut()[66:126, :60])
    with pytest.raises(ValueError, match="no image of 99 px"):
        middle_crops(photos, 9, 99, Reader())
    (photos / "broken.png").unlink()
    assert [crop.shape for crop in random_crops(photos, 2, 50, Reader())] == [
        (50, 40, 3),
        (50, 50, 3),
    ]
