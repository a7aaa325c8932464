import pytest

from ldm_ae.bench.coder import Point, finest_within


class Counting:
    """A file of ten bytes for each step of quality."""

    name = "counting"
    points = (Point("first", 3), Point("second", 4))

    def __init__(self, *qualities: float) -> None:
        self.qualities, self.identity = qualities, {}
        self.asked: list[Point] = []

    def encode(self, pixels, point: Point) -> bytes:
        self.asked.append(point)
        return bytes(int(10 * point.quality))

    def decode(self, file: bytes, point: Point):
        raise AssertionError("a size is known without decoding")


@pytest.mark.parametrize(
    ("limit", "quality"), [(9, 1), (10, 1), (55, 5), (60, 6), (999, 100), (1000, 100)]
)
def test_the_finest_file_that_fits(limit: int, quality: int) -> None:
    coder = Counting(*range(1, 101))
    file, point = finest_within(coder, None, limit)
    assert point == Point("first", min(quality, limit // 10) if limit >= 10 else 1)
    assert len(file) == 10 * point.quality
    assert len(coder.asked) <= 8


def test_a_coder_without_settings_is_asked_once() -> None:
    coder = Counting(7)
    assert finest_within(coder, None, 10) == (bytes(70), Point("first", 7))
    assert len(coder.asked) == 1
