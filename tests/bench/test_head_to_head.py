import pytest

from ldm_ae.bench.head_to_head import summary


def row(recipe: str, seed: int, seconds: float, psnr: float, speed: float) -> dict[str, object]:
    return {"recipe": recipe, "seed": seed, "seconds": seconds, "psnr": psnr} | {
        "images_per_second": speed
    }


def test_the_last_rows_of_all_seeds_are_averaged_and_compared() -> None:
    rows = [
        row("ours", 0, 1, 1.0, 30.0),
        row("ours", 0, 2, 26.0, 30.0),
        row("ours", 1, 2, 24.0, 50.0),
        row("ldm", 0, 2, 20.0, 20.0),
    ]
    ours, ldm = summary(rows, "ldm")
    assert ours["num_seeds"] == 2 and ours["psnr"] == 25.0
    assert ours["psnr_change"] == pytest.approx(25.0)
    assert ours["images_per_second_change"] == pytest.approx(100.0)
    assert ldm["psnr_change"] == 0.0


def test_without_the_other_recipe_nothing_is_compared() -> None:
    (ours,) = summary([row("ours", 0, 2, 26.0, 30.0)], "ldm")
    assert set(ours) == {"recipe", "num_seeds", "psnr", "images_per_second"}
