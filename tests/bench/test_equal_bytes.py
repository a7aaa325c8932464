from ldm_ae.bench.equal_bytes import CROP, equal_bytes_rows
from ldm_ae.bench.photos import list_photos
from ldm_ae.bench.reconstruction import plain_codec


def test_each_file_is_the_finest_within_the_firsts_size() -> None:
    (photo,) = list_photos("embedded", 1)
    webp, jpeg = plain_codec("webp", 50), plain_codec("jpeg", 50)
    ((original, first, second),) = equal_bytes_rows([webp, jpeg], [photo], 0.3)
    assert (original.title, original.detail) == ("original", photo.name)
    assert (first.title, second.title) == ("WebP", "JPEG")
    pixels = photo.pixels()
    limit = int(first.detail.partition(" ")[0].replace(",", ""))
    assert 8 * limit / pixels[..., 0].size <= 0.3
    sizes = [len(jpeg.encode(pixels, point)) for point in plain_codec("jpeg", *range(101)).points]
    assert second.detail == f"{max(size for size in sizes if size <= limit):,} bytes"
    assert {tile.pixels.shape for tile in (original, first, second)} == {(CROP, CROP, 3)}


def test_a_codec_that_cannot_be_so_small_says_so() -> None:
    ((_, tile),) = equal_bytes_rows([plain_codec("jpeg", 50)], list_photos("embedded", 1), 0.001)
    assert tile.detail.endswith("bytes (its smallest)")
