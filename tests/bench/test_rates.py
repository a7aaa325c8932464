from ldm_ae.bench.rates import continuous_bits, index_bits


def test_a_continuous_latent_costs_sixteen_bits_a_number() -> None:
    assert continuous_bits(512, 768, 8, 4) == 512 * 768  # kl-f8 is 1 bit per pixel
    assert continuous_bits(256, 256, 4, 3) == 3 * 256 * 256


def test_codes_cost_whole_bits() -> None:
    assert index_bits(256, 256, 16, 16384) == 14 * 256
    assert index_bits(16, 16, 16, 1025) == 11
    assert index_bits(16, 16, 16, 1024) == 10


def test_the_padded_latent_is_counted() -> None:
    assert continuous_bits(481, 321, 8, 1) == 16 * 61 * 41
