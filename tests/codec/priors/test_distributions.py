import numpy as np
import pytest

from ldm_ae.codec.format.coder import Decoder, Encoder
from ldm_ae.codec.format.ladder import MAX_VALUE
from ldm_ae.codec.priors.distributions import Alike, Apart, Signed
from ldm_ae.codec.priors.frequencies import integer_counts
from ldm_ae.codec.priors.tables import FrequencyTables

LAGRANGIAN = 0.3  # so that many symbols move


@pytest.fixture
def tables() -> FrequencyTables:
    rng = np.random.default_rng(0)
    widths = [2, 4, 12, 40, 400]
    return FrequencyTables.of([integer_counts(rng.dirichlet(np.full(n, 0.3))) for n in widths])


def data(tables: FrequencyTables, size: int) -> tuple[Signed, np.ndarray]:
    """Rows in no order, symbols with every kind of escape."""
    rng = np.random.default_rng(1)
    rows, offsets = rng.integers(0, len(tables), size), rng.integers(-5, 6, size)
    symbols = np.rint(rng.laplace(0, 4, size)).astype(np.int64)
    symbols[:: max(1, size // 60)] *= 700
    return Signed(tables, rows, offsets, MAX_VALUE), symbols


def payload_of(distribution: Signed | Alike | Apart, symbols: np.ndarray) -> bytes:
    encoder = Encoder()
    distribution.put(encoder, symbols)
    return encoder.finish()


@pytest.mark.parametrize("size", [0, 1, 2, 3000])
def test_signed_symbols_come_back(tables: FrequencyTables, size: int, reference) -> None:
    distribution, symbols = data(tables, size)
    payload = payload_of(distribution, symbols)
    decoder = Decoder(payload)
    found = distribution.take(decoder)
    assert found.dtype == np.int64 and (found == symbols).all()
    decoder.finish()
    assert len(payload) * 8 <= distribution.bits(symbols) * 1.002 + 64
    counts = [tables.row(index).tolist() for index in range(len(tables))]
    coder = reference.ReferenceCoder(payload)
    differences = reference.signed(coder, counts, distribution.rows.tolist())
    assert (differences + distribution.offsets == symbols).all()


def test_the_largest_escapes_fit(tables: FrequencyTables) -> None:
    symbols, zeros = np.array([32767, -32767, 1, -1, 0]), np.zeros(5, dtype=np.int64)
    distribution = Signed(tables, zeros, zeros, MAX_VALUE)
    payload = payload_of(distribution, symbols)
    assert (distribution.take(Decoder(payload)) == symbols).all()
    with pytest.raises(ValueError, match="lies outside -32766..32766"):
        Signed(tables, zeros, zeros, MAX_VALUE - 1).take(Decoder(payload))


def test_garbage_gives_symbols_or_an_error(tables: FrequencyTables) -> None:
    rng, (distribution, _) = np.random.default_rng(3), data(tables, 200)
    refused = 0
    for size in range(60):
        decoder = Decoder(rng.bytes(4 * size) if size else b"")
        try:
            assert len(distribution.take(decoder)) == 200
            decoder.finish()
        except ValueError:
            refused += 1
    assert refused > 0


def cost(distribution: Signed, wanted: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """J of each symbol, one by one."""
    bits = [
        Signed(distribution.tables, row, offset, MAX_VALUE).bits(symbol)
        for row, offset, symbol in zip(
            distribution.rows[:, None], distribution.offsets[:, None], symbols[:, None], strict=True
        )
    ]
    return (wanted - symbols) ** 2 + LAGRANGIAN * np.array(bits)


def test_chosen_is_the_cheaper_of_two(tables: FrequencyTables) -> None:
    """Escapes too: the cheaper of the nearest symbol and the next one towards the offset."""
    distribution, symbols = data(tables, 1500)
    wanted = symbols + np.random.default_rng(4).uniform(-0.5, 0.5, len(symbols))
    beside = symbols + np.sign(distribution.offsets - symbols)
    costs = [cost(distribution, wanted, each) for each in (symbols, beside)]
    chosen = distribution.choose(wanted, LAGRANGIAN)
    assert (chosen == np.where(costs[1] < costs[0], beside, symbols)).all()
    moved = chosen != symbols
    escaped = np.abs(symbols - distribution.offsets) > tables.most[distribution.rows]
    assert 50 < (moved & escaped).sum() < escaped.sum() and (moved & ~escaped).sum() > 10
    assert (distribution.choose(wanted, 0) == symbols).all()


def test_indices_of_one_table() -> None:
    distribution = Alike(FrequencyTables.of([np.array([1, 2, 3, 10])]), 40)
    symbols = np.random.default_rng(0).integers(0, 4, 40)
    payload = payload_of(distribution, symbols)
    assert (distribution.take(Decoder(payload)) == symbols).all()
    assert distribution.choose(symbols, LAGRANGIAN) is symbols
    assert distribution.bits(np.array([3, 0])) == pytest.approx(4 + np.log2(1.6))


def test_indices_with_counts_of_their_own() -> None:
    rng = np.random.default_rng(2)
    counts, symbols = rng.integers(1, 1000, (50, 17)), rng.integers(0, 17, 50)
    payload = payload_of(Apart([counts[:20], counts[20:]]), symbols)
    assert (Apart([counts]).take(Decoder(payload)) == symbols).all()
    shares = counts[np.arange(50), symbols] / counts.sum(axis=1)
    assert Apart([counts[:9], counts[9:]]).bits(symbols) == pytest.approx(-np.log2(shares).sum())
