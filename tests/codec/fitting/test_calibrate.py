from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm_ae.codec.contents import Content
from ldm_ae.codec.fitting.calibrate import Samples, calibrate, calibration_images, fit
from ldm_ae.data.reading import Reader


def test_samples_are_bounded_and_copied() -> None:
    samples = Samples(max_values=100)
    batch = torch.ones(3, 2, 4, 5)
    samples.add(batch)
    assert len(samples.items) == 2, "40 values each"
    samples.add(torch.zeros(1, 1, 4, 5))
    assert sum(item.size for item in samples.items) == 100
    batch.zero_()
    assert samples.items[0].all()


def test_no_samples(codecs) -> None:
    with pytest.raises(ValueError, match="no image came"):
        fit(codecs["kl"].model, Samples())


@pytest.mark.parametrize("family", ["kl", "vq"])
def test_a_fitted_prior_beats_another_models(make_codec, picture, family: str) -> None:
    """The prior follows the latents: fitted to other pictures' it costs more bits."""
    codec = make_codec(family)
    flat = [np.full((64, 64, 3), 10 * index, dtype=np.uint8) for index in range(3)]
    photos = [picture(64, 64, seed=seed) for seed in range(5, 9)]
    analysis = codec.encode(picture(64, 64, seed=20))
    bits = {}
    for name, images in (("own", photos), ("flat", flat)):
        prior = calibrate(codec.model, images)
        content = Content(codec.model, prior)
        bits[name] = content.bits(content.pack(analysis.content, 40)[0], 40)
    assert bits["own"] < bits["flat"]


def test_images_are_a_random_choice_of_middles(tmp_path: Path) -> None:
    paths = []
    for index in range(6):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(np.full((20, 700, 3), index, dtype=np.uint8)).save(paths[-1])
    found = list(calibration_images(paths, Reader(), max_images=4))
    assert [image.shape for image in found] == [(20, 512, 3)] * 4
    order = [int(image[0, 0, 0]) for image in found]
    assert len(set(order)) == 4 and order != sorted(order)
    (tmp_path / "0.png").write_bytes(b"")
    reader = Reader()
    assert len(list(calibration_images(paths, reader, max_images=6))) == 5
    assert [path.name for path in reader.broken] == ["0.png"]
