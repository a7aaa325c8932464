import torch

from ldm_ae.inspection.equivariance import TRANSFORMS, equivariance


def test_a_model_without_a_sense_of_place_is_equivariant(shrinking, images) -> None:
    found = equivariance(shrinking(), images)
    assert found.keys() == TRANSFORMS.keys()
    for name in ("turn by 90", "turn by 180", "mirror", "half size"):
        assert found[name]["latent_error"] < 1e-5
        assert found[name]["psnr_through_latents"] == found[name]["psnr_itself"]
    assert found["mirror"]["psnr_itself"] > 80 > found["half size"]["psnr_itself"]


def test_one_that_writes_its_places_into_the_latents_is_not(shrinking, images) -> None:
    pattern = torch.linspace(-1, 1, 16)[:, None] * torch.linspace(0, 1, 16)
    found = equivariance(shrinking(pattern), images)
    for name in TRANSFORMS:
        assert found[name]["latent_error"] > 0.2
        assert found[name]["psnr_through_latents"] < found[name]["psnr_itself"] - 1
