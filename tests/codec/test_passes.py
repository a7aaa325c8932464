import numpy as np
import pytest

from ldm_ae.codec.codec import Codec
from ldm_ae.codec.contents import LAGRANGIAN
from ldm_ae.codec.format.ladder import largest_symbol
from ldm_ae.codec.passes import cross_entropy, decode, encode

FAMILIES = ["kl", "kl context"]


def latents_of(codec: Codec, picture) -> np.ndarray:
    return codec.encode(picture(96, 96, seed=30)).content


@pytest.mark.parametrize("quality", [10, 30, 50])
@pytest.mark.parametrize("family", FAMILIES)
def test_choosing_symbols_pays(codecs, picture, family: str, quality: int) -> None:
    """Squared error plus lambda times the bits that are really spent, below rounding's."""
    prior = codecs[family].prior
    wanted = prior.scale.in_steps(latents_of(codecs[family], picture), quality)
    nearest, chosen = (encode(prior, wanted, quality, each)[0] for each in (0, LAGRANGIAN))
    assert (nearest == np.rint(wanted)).all()
    bits = [cross_entropy(prior, symbols, quality) for symbols in (nearest, chosen)]
    errors = [((wanted - symbols) ** 2).sum() for symbols in (nearest, chosen)]
    assert bits[1] < bits[0]
    assert errors[1] + LAGRANGIAN * bits[1] < errors[0] + LAGRANGIAN * bits[0]
    assert np.abs(chosen - nearest).max() == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_chosen_is_what_was_coded(codecs, picture, family: str) -> None:
    prior = codecs[family].prior
    wanted = prior.scale.in_steps(latents_of(codecs[family], picture), 40)
    symbols, payload = encode(prior, wanted, 40, LAGRANGIAN)
    assert (decode(prior, payload, symbols.shape, 40) == symbols).all()
    # Symbols are coded as they are: the same choices make the same bytes.
    again, same = encode(prior, symbols, 40)
    assert (again == symbols).all() and same == payload


def test_extreme_values_stay_within_the_format(codecs) -> None:
    prior = codecs["kl context"].prior
    latents = np.full((prior.num_channels, 5, 4), 1e30, dtype=np.float32)
    latents[:, ::2] = -1e30
    chosen, payload = encode(prior, prior.scale.in_steps(latents, 63), 63, LAGRANGIAN)
    assert np.abs(chosen).max() <= largest_symbol(63)
    assert (decode(prior, payload, chosen.shape, 63) == chosen).all()
