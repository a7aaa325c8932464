import pytest
import torch

from ldm_ae.metrics.frechet import FeatureMoments, frechet_distance
from ldm_ae.train.frechet import FrechetJudge


class Colours(torch.nn.Module):
    """Mean and deviation of each channel, as a network."""

    name = "colours"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


@pytest.fixture
def images() -> list[torch.Tensor]:
    return [torch.rand(1, 3, 8, 8) * torch.rand(1, 3, 1, 1) for _ in range(6)]


def test_scores_are_of_what_was_seen_since_the_last_ones(images: list[torch.Tensor]) -> None:
    judge = FrechetJudge(Colours(), images)
    for image in images:
        judge.see(image * 0.5)
    first = judge.scores()
    features = [Colours()(torch.cat(batch)) for batch in (images, [i * 0.5 for i in images])]
    expected = frechet_distance(*[FeatureMoments.of(part) for part in features])
    assert first["frechet"] == pytest.approx(expected)
    assert (first["frechet_images"], first["frechet_net"]) == (6, "colours")
    for image in images:
        judge.see(image)
    assert judge.scores()["frechet"] == pytest.approx(0, abs=1e-6)


def test_the_floor_is_between_disjoint_sets_of_as_many_images(images: list[torch.Tensor]) -> None:
    crops = torch.rand(40, 3, 8, 8) * torch.rand(40, 3, 1, 1)
    judge = FrechetJudge(Colours(), images)
    judge.measure_floor(iter(crops.split(6)), num_images=40)
    halves = [FeatureMoments.of(Colours()(part)) for part in (crops[:6], crops[6:12])]
    assert judge.floor_images == 6
    assert judge.floor == pytest.approx(frechet_distance(*halves))
    assert "6 validation images; training crops against others, 6 each: " in judge.describe()
    uneven = FrechetJudge(Colours(), images)
    uneven.measure_floor(iter(crops[:12].split(5)), num_images=12)  # no image is passed over
    assert uneven.floor == pytest.approx(judge.floor)
    few = FrechetJudge(Colours(), images)
    few.measure_floor(iter(crops.split(6)), num_images=8)  # a set of 6 would repeat images
    assert few.floor_images == 4
    none = FrechetJudge(Colours(), images)
    none.measure_floor(iter(crops.split(6)), num_images=3)
    assert none.floor is None and "too few training images" in none.describe()
