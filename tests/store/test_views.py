import numpy as np
import pytest
from PIL import Image

from ldm_ae.errors import UserError
from ldm_ae.store.views import Views


@pytest.fixture
def ramp() -> Image.Image:
    """64 x 32; red grows to the right, green downwards."""
    x, y = np.meshgrid(np.arange(64) * 4, np.arange(32) * 8)
    return Image.fromarray(np.stack([x, y, y], axis=2).astype(np.uint8))


def test_the_middle_square_and_its_mirror_image(ramp: Image.Image) -> None:
    first, second = Views(size=32, flip=True).of(ramp, "a")
    assert first.box == second.box == (16, 0, 48, 32) and first.original == (64, 32)
    assert (first.pixels == np.asarray(ramp)[:, 16:48]).all()
    assert (second.pixels == first.pixels[:, ::-1]).all()
    assert [first.suffix, second.suffix] == ["", "#flipped"]


def test_a_square_of_another_side_is_resampled(ramp: Image.Image) -> None:
    (view,) = Views(size=16).of(ramp, "a")
    assert view.pixels.shape == (16, 16, 3) and view.box == (16, 0, 48, 32)


def test_random_crops_hang_on_the_name_alone(ramp: Image.Image) -> None:
    views = Views("random", size=16, count=8, min_scale=0.2)
    found = [list(views.of(ramp, key)) for key in "aab"]
    boxes = [[view.box for view in one] for one in found]
    assert boxes[0] == boxes[1] != boxes[2]
    assert len(set(boxes[0])) == 8
    assert [view.suffix for view in found[0]][:2] == ["", "#1"]
    for left, top, right, bottom in boxes[0]:
        assert left >= 0 and right <= 64 and top >= 0 and bottom <= 32
        assert 16 <= right - left == bottom - top


@pytest.mark.parametrize(
    ("size", "shape"), [((64, 32), (24, 8)), ((32, 64), (8, 24)), ((50, 51), (16, 16))]
)
def test_buckets_take_the_nearest_shape(size: tuple[int, int], shape: tuple[int, int]) -> None:
    views = Views("buckets", size=16, bucket_step=8)
    assert views.shapes == [(8, 24), (8, 32), (16, 16), (24, 8), (32, 8)]
    (view,) = views.of(Image.new("RGB", size), "a")
    assert view.pixels.shape == (shape[1], shape[0], 3) and view.size == shape
    left, top, right, bottom = view.box
    assert (right - left) / (bottom - top) == pytest.approx(shape[0] / shape[1], rel=0.1)
    assert right - left == size[0] or bottom - top == size[1], "as large as possible"


def test_buckets_of_usual_sizes() -> None:
    shapes = Views("buckets", size=512).shapes
    assert (512, 512) in shapes and (768, 320) in shapes
    assert all(w % 64 == h % 64 == 0 and w * h <= 512 * 512 for w, h in shapes)
    assert all((h, w) in shapes for w, h in shapes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "must be at least 1"),
        ({"count": 2}, "need random ones"),
        ({"min_scale": 0.0}, "min_scale"),
        ({"crop": "buckets", "size": 32}, "bucket step 64"),
    ],
)
def test_settings_that_mean_nothing(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Views(**settings)


def test_sides_must_suit_the_model() -> None:
    Views(size=24).require_multiples(8)
    with pytest.raises(UserError, match="size 20: the model takes multiples of 8"):
        Views(size=20).require_multiples(8)
    with pytest.raises(UserError, match="bucket step 12"):
        Views("buckets", size=24, bucket_step=12).require_multiples(8)
