import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.codec.codec import Codec
from ldm_ae.codec.fitting.calibrate import calibrate
from ldm_ae.codec.format.ladder import step
from ldm_ae.codec.priors.file import earlier_prior, save_prior
from ldm_ae.data.images import to_float, to_uint8
from ldm_ae.threads import using_threads

FAMILIES = ["kl", "plain", "vq", "dvae", "kl context", "vq context"]


def pictures(picture) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "one pixel": np.full((1, 1, 3), 200, dtype=np.uint8),
        "odd": picture(7, 1031),
        "black": np.zeros((33, 40, 3), dtype=np.uint8),
        "noise": rng.integers(0, 256, (45, 64, 3), dtype=np.uint8),
        "photo": picture(50, 67),
    }


@pytest.mark.parametrize("name", ["one pixel", "odd", "black", "noise", "photo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_symbols_come_back_exactly(codecs, family: str, name: str, picture, reference) -> None:
    codec, image = codecs[family], pictures(picture)[name]
    analysis = codec.encode(image)
    for quality in [None] if codec.content.discrete else [0, 40, 63]:
        data = codec.pack(analysis, quality)
        found = codec.unpack(data)
        wanted = codec.content.pack(analysis.content, found.header.quality)[0]
        assert (found.symbols == wanted).all() and found.alpha is None
        if "context" not in family:  # test_context.py compares those with a reference
            assert (reference.symbols_of(data, codec.prior, 4) == wanted).all()
        back = codec.decompress(data)
        assert back.shape == image.shape and back.dtype == np.uint8


@pytest.mark.parametrize("family", FAMILIES)
def test_symbols_do_not_depend_on_threads(codecs, family: str, picture) -> None:
    codec = codecs[family]
    analysis = codec.encode(picture(64, 96))
    data = codec.pack(analysis)
    wanted = codec.unpack(data).symbols
    for number in (1, 2):
        with using_threads(number):
            assert (codec.unpack(data).symbols == wanted).all()
            assert codec.pack(analysis) == data
    found: list[np.ndarray] = []
    workers = [
        threading.Thread(target=lambda: found.append(codec.unpack(data).symbols)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3 and all((symbols == wanted).all() for symbols in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_eight_images_encoded_at_once_decode_one_by_one(codecs, family: str, picture) -> None:
    codec = codecs[family]
    images = [picture(32, 32, seed=seed) for seed in range(8)]
    with torch.inference_mode():
        together = codec.content.analyse(torch.cat([to_float(image) for image in images]))
    for image, content in zip(images, together, strict=True):
        alone = codec.encode(image)
        data = codec.pack(dataclasses.replace(alone, content=content))
        found = codec.unpack(data)
        assert (found.symbols == codec.content.pack(content, found.header.quality)[0]).all()
        # Convolutions of eight round otherwise than of one: files may differ, hardly though.
        difference = found.symbols != codec.unpack(codec.pack(alone)).symbols
        assert difference.mean() < 0.01


@pytest.mark.slow
def test_a_compiled_model_reads_the_same_symbols(make_codec, picture) -> None:
    codec = make_codec("kl")
    image = picture(16, 16)
    data = codec.compress(image)
    wanted, eager = codec.unpack(data).symbols, codec.decompress(data)
    # Captured, but without the minutes that generating C++ takes.
    codec.model.decoder.compile(backend="eager")
    assert (codec.unpack(data).symbols == wanted).all()
    assert np.abs(codec.decompress(data).astype(int) - eager).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_grey_and_alpha(codecs, picture, channels: int) -> None:
    image = picture(21, 18, channels=channels)
    back = codecs["kl"].decompress(codecs["kl"].compress(image, 63))
    assert back.shape == image.shape
    if channels % 2 == 0:
        assert (back[:, :, -1] == image[:, :, -1]).all(), "alpha is kept without loss"


def test_pillow_images_and_plain_arrays(codecs, picture) -> None:
    codec, image = codecs["kl"], picture(9, 12)
    data = codec.compress(image)
    assert codec.compress(Image.fromarray(image)) == data
    assert codec.decompress(codec.compress(image[:, :, 0])).shape == (9, 12, 1)


def test_paths_are_opened(codecs, picture, tmp_path: Path) -> None:
    image = picture(9, 12)
    Image.fromarray(image).save(tmp_path / "a.png")
    data = codecs["kl"].compress(image)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert codecs["kl"].compress(path) == data
    with pytest.raises(ValueError, match=r"none\.png"):
        codecs["kl"].compress(tmp_path / "none.png")


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_of_a_file_give_its_picture(codecs, picture, family: str) -> None:
    codec, image = codecs[family], picture(16, 24)
    data = codec.compress(image)
    latents = codec.latents(data)
    assert latents.dtype == torch.float32 and len(latents) == 1
    with torch.inference_mode():
        decoded = to_uint8(codec.model.decode(latents))[0].permute(1, 2, 0).numpy()
    assert (decoded[:16, :24] == codec.decompress(data)).all()
    if not codec.content.discrete:
        scale = codec.prior.scale
        error = np.abs(latents[0].numpy() - codec.encode(image).content) / scale.unit
        assert error.max() <= 1.5 * step(40) * (1 + 1e-5), "the chosen symbol is one off at most"


def test_files_of_a_replaced_prior_are_read(codecs, make_codec, picture, tmp_path: Path) -> None:
    codec, model = codecs["kl"], codecs["kl"].model
    data = codec.compress(picture(16, 16))
    other = Codec(model, calibrate(model, [picture(32, 32, seed=9)]), folder=tmp_path)
    with pytest.raises(ValueError, match="was written with model"):
        other.decompress(data)
    save_prior(codec.prior, tmp_path).rename(earlier_prior(tmp_path, codec.digest))
    assert (other.decompress(data) == codec.decompress(data)).all()
    assert (other.latents(data) == codec.latents(data)).all()
    with pytest.raises(ValueError, match="was written with model"):
        other.unpack(data)


def test_models_of_grey_and_of_rgba(make_codec, picture) -> None:
    grey = make_codec("kl", image_channels=1)
    assert grey.decompress(grey.compress(picture(9, 12, channels=1))).shape == (9, 12, 1)
    assert grey.decompress(grey.compress(picture(9, 12, channels=2))).shape == (9, 12, 2)
    with pytest.raises(ValueError, match="takes grey pictures"):
        grey.compress(picture(9, 12))
    rgba = make_codec("kl", image_channels=4)
    for channels in (1, 2, 3, 4):
        data = rgba.compress(picture(9, 12, channels=channels))
        assert rgba.decompress(data).shape == (9, 12, 4)


def test_size_grows_with_quality(codecs, picture) -> None:
    codec = codecs["kl"]
    analysis = codec.encode(picture(96, 96))
    sizes = [len(codec.pack(analysis, quality)) for quality in range(0, 64, 9)]
    assert sizes == sorted(sizes) and sizes[-1] > 3 * sizes[0]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_bpp_takes_the_finest_file_that_fits(codecs, picture, share: float) -> None:
    codec, image = codecs["kl"], picture(64, 80)
    analysis = codec.encode(image)
    sizes = [len(codec.pack(analysis, quality)) for quality in range(64)]
    target = (sizes[0] + share * (sizes[-1] - sizes[0])) * 8 / (64 * 80)
    data = codec.compress(image, bpp=target)
    assert len(data) * 8 / (64 * 80) <= target
    quality = codec.unpack(data).header.quality
    assert all(size * 8 / (64 * 80) > target for size in sizes[quality + 2 :])


def test_wrong_rates_are_named(codecs, picture) -> None:
    image = picture(16, 16)
    for arguments, message in [
        ({"quality": 64}, "quality=64"),
        ({"quality": -1}, "quality=-1"),
        ({"bpp": 0.0}, "bpp=0.0"),
        ({"bpp": float("nan")}, "bpp=nan"),
        ({"bpp": 1e-3}, "too few"),
        ({"bpp": 1.0, "quality": 3}, "give one"),
    ]:
        with pytest.raises(ValueError, match=message):
            codecs["kl"].compress(image, **arguments)
    for arguments in ({"quality": 3}, {"bpp": 1.0}):
        with pytest.raises(ValueError, match="one rate"):
            codecs["vq"].compress(image, **arguments)


def test_another_models_file_is_refused(codecs, make_codec, picture) -> None:
    data = codecs["kl"].compress(picture(16, 16))
    for other in (make_codec("kl", seed=1), codecs["plain"], codecs["vq"]):
        with pytest.raises(ValueError, match="was written with model"):
            other.decompress(data)


def test_a_bound_on_pixels(codecs, picture) -> None:
    data = codecs["kl"].compress(picture(20, 30))
    careful = Codec(codecs["kl"].model, codecs["kl"].prior, max_pixels=599)
    with pytest.raises(ValueError, match="30x20 pixels, more than max_pixels=599"):
        careful.unpack(data)


def test_a_prior_of_another_kind_is_refused(codecs) -> None:
    for model, prior in (("kl", "vq"), ("vq", "kl"), ("vq", "dvae")):
        with pytest.raises(ValueError, match="calibrate the model"):
            Codec(codecs[model].model, codecs[prior].prior)
