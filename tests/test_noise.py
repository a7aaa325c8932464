import torch

from ldm_ae.noise import gumbel_noise, mix, normal_noise


def test_noise_follows_the_image_not_its_place_in_the_batch() -> None:
    whole = normal_noise(torch.empty(4, 2, 8, 8), torch.tensor([5, 6, 7, 8]))
    part = normal_noise(torch.empty(2, 2, 8, 8), torch.tensor([7, 6]))
    assert torch.equal(part, whole[[2, 1]])


def test_keys_and_streams_give_different_noise() -> None:
    like = torch.empty(2, 1, 8, 8)
    noise = normal_noise(like, torch.tensor([1, 2]))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, normal_noise(like, torch.tensor([1, 2]), stream=1))


def test_noise_keeps_the_dtype_and_the_values() -> None:
    keys = torch.tensor([3])
    double = normal_noise(torch.empty(1, 4, dtype=torch.float64), keys)
    assert double.dtype == torch.float64
    assert torch.equal(double.float(), normal_noise(torch.empty(1, 4), keys))


def test_gumbel_noise_has_gumbels_mean_and_is_finite() -> None:
    noise = gumbel_noise(torch.empty(1, 400, 400), torch.tensor([0]))
    assert torch.isfinite(noise).all()
    assert abs(float(noise.mean()) - 0.5772) < 0.01


def test_mix_spreads_neighbours() -> None:
    seeds = {mix(seed, key) for seed in range(30) for key in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
