"""Large pictures go through the network in strips, and come out as if whole."""

import numpy as np
import pytest
import torch

from ldm_ae.codec import contents
from ldm_ae.codec.codec import Codec
from ldm_ae.codec.picture_rows import PictureRows
from ldm_ae.data.images import pad_to_multiple, to_float
from ldm_ae.errors import UserError
from ldm_ae.models import strips
from ldm_ae.pretrained import Codecs, load_codec


@pytest.fixture
def in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(strips, "_CPU_STRIP", 1)


@pytest.mark.parametrize("size", [(70, 101), (1, 1), (33, 8)])
@pytest.mark.parametrize("family", ["kl", "plain", "vq", "dvae"])
def test_strips_make_no_difference(
    codecs, picture, family: str, size: tuple[int, int], in_strips, monkeypatch
) -> None:
    codec, image = codecs[family], picture(*size)
    found = codec.encode(image)
    data = codec.pack(found)
    decoded = codec.decompress(data)
    monkeypatch.setattr(contents, "WHOLE_PIXELS", 1 << 21)
    whole = codec.encode(image)
    if codec.content.discrete:
        assert (found.content == whole.content).all()
    else:
        np.testing.assert_allclose(found.content, whole.content, rtol=1e-4, atol=1e-4)
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - codec.decompress(data)).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_and_alpha(codecs, picture, channels: int, in_strips, monkeypatch) -> None:
    codec, image = codecs["kl"], picture(21, 18, channels=channels)
    data = codec.compress(image, 63)
    back = codec.decompress(data)
    monkeypatch.setattr(contents, "WHOLE_PIXELS", 1 << 21)
    assert np.abs(back.astype(int) - codec.decompress(data)).max() <= 1
    if channels % 2 == 0:
        assert (back[:, :, -1] == image[:, :, -1]).all()


@pytest.mark.parametrize("size", [(1, 1), (13, 10), (16, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_a_picture_are_the_padded_image(picture, size, channels: int) -> None:
    pixels = picture(*size, channels=channels)
    rows = PictureRows(pixels, 3, 4, torch.device("cpu"))
    images, _ = pad_to_multiple(to_float(np.repeat(pixels, 3 // channels, axis=2)), 4)
    assert rows.shape == images.shape
    height = rows.shape[2]
    for top, bottom in ((0, height), (0, 1), (height - 2, height)):
        assert torch.equal(rows.read(top, bottom), images[:, :, top:bottom])


def test_memory_can_be_limited(codecs, picture, in_strips) -> None:
    data = load_codec().compress(picture(9, 9))
    with pytest.raises(UserError, match="max_memory='few'"):
        Codec(codecs["kl"].model, codecs["kl"].prior, max_memory="few")
    for limited in (load_codec(max_memory=10), Codecs(max_memory=10)):
        with pytest.raises(UserError, match=r"max_memory is 0\.01 kB"):
            limited.that_wrote(data).decompress(data)
