import numpy as np
import pytest

from ldm_ae.codec.codec import Codec
from ldm_ae.codec.format.ladder import MAX_VALUE, in_steps, quantise, step
from ldm_ae.codec.passes import latent_bits
from ldm_ae.codec.rdoq import LAGRANGIAN, choose_symbols, symbol_bits

QUALITIES = [10, 30, 50]


def latents_of(codec: Codec, picture) -> np.ndarray:
    return codec.encode(picture(96, 96, seed=30)).content


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("family", ["kl", "kl context"])
def test_it_pays(codecs, picture, family: str, quality: int) -> None:
    """Squared error plus lambda times the bits that are really spent, below rounding's."""
    prior, latents = codecs[family].prior, latents_of(codecs[family], picture)
    scaled = in_steps(latents, prior.centre, prior.unit, quality)
    nearest = quantise(latents, prior.centre, prior.unit, quality)
    chosen = choose_symbols(latents, prior, quality)
    bits = [latent_bits(symbols, prior, quality) for symbols in (nearest, chosen)]
    errors = [((scaled - symbols) ** 2).sum() for symbols in (nearest, chosen)]
    assert bits[1] < bits[0]
    assert errors[1] + LAGRANGIAN * bits[1] < errors[0] + LAGRANGIAN * bits[0]
    assert np.abs(chosen - nearest).max() == 1


def test_without_a_price_symbols_are_the_nearest(codecs, picture) -> None:
    prior, latents = codecs["kl"].prior, latents_of(codecs["kl"], picture)
    nearest = quantise(latents, prior.centre, prior.unit, 40)
    assert (choose_symbols(latents, prior, 40, lagrangian=0) == nearest).all()


def test_extreme_values_stay_within_the_format(codecs) -> None:
    prior = codecs["kl context"].prior
    latents = np.full((len(prior.centre), 5, 4), 1e30, dtype=np.float32)
    latents[:, ::2] = -1e30
    chosen = choose_symbols(latents, prior, 63)
    assert np.abs(chosen).max() <= MAX_VALUE // step(63)


def test_bits_of_single_values_are_those_of_the_coder(codecs, picture) -> None:
    """Escapes too: the factorised prior's rows end long before these."""
    prior = codecs["kl"].prior
    symbols = np.zeros((len(prior.centre), 2, 2), dtype=np.int64)
    symbols[0] = [[0, 1], [-900, 1200]]
    rows, offsets = prior.predict(symbols, symbols == 0, 0, 40)
    bits = symbol_bits(prior.tables, rows, symbols.ravel() - offsets)
    assert bits.sum() == pytest.approx(latent_bits(symbols, prior, 40))
    assert bits[3] > 20
