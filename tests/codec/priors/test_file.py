import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ldm_ae.codec.digest import update_digest
from ldm_ae.codec.fitting.counts import fit_factorised, fit_index_counts
from ldm_ae.codec.priors.counts import FactorisedPrior, IndexCounts
from ldm_ae.codec.priors.file import PRIOR_FILE, load_prior, save_prior


@pytest.fixture(scope="module")
def prior() -> FactorisedPrior:
    return fit_factorised([np.random.default_rng(0).normal(size=(2, 32, 32))])


def digest(prior) -> bytes:
    found = hashlib.sha256()
    update_digest(found, prior)
    return found.digest()


def test_what_was_saved_is_loaded(prior: FactorisedPrior, tmp_path: Path) -> None:
    save_prior(prior, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PRIOR_FILE]
    again = load_prior(tmp_path)
    assert isinstance(again, FactorisedPrior) and digest(again) == digest(prior)
    counts = fit_index_counts([np.arange(16).reshape(4, 4)], 16)
    save_prior(counts, tmp_path)
    assert isinstance(load_prior(tmp_path), IndexCounts)


def test_a_missing_prior_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ldm-ae calibrate"):
        load_prior(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"prior": "factorised", "format": "2"}, "of format '2'"),
        ({"prior": "hyper", "format": "1"}, "the prior 'hyper'"),
        (None, "the prior None"),
        ({"prior": "index counts", "format": "1"}, "is damaged"),
    ],
)
def test_unknown_priors_are_refused(
    prior: FactorisedPrior, tmp_path: Path, metadata: dict[str, str] | None, message: str
) -> None:
    save_file(prior.to_arrays(), tmp_path / PRIOR_FILE, metadata)
    with pytest.raises(ValueError, match=message):
        load_prior(tmp_path)


def test_damaged_bytes_are_refused(prior: FactorisedPrior, tmp_path: Path) -> None:
    path = save_prior(prior, tmp_path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(60):
        data = bytearray(whole)
        if trial % 2:
            data = data[: rng.integers(0, len(data))]
        else:
            data[rng.integers(0, 400)] ^= 1 << rng.integers(0, 8)
        path.write_bytes(data)
        try:
            loaded = load_prior(tmp_path)
        except ValueError:
            continue
        # A harmless change: of a centre, or between rows of equal sums.
        assert isinstance(loaded, FactorisedPrior)


def test_digest_sees_every_array(prior: FactorisedPrior) -> None:
    seen = {digest(prior)}
    for name, value in prior.to_arrays().items():
        arrays = prior.to_arrays()
        arrays[name] = value.copy()
        arrays[name].flat[0] += 1

        class Changed:
            name = prior.name

            def to_arrays(self, arrays=arrays):
                return arrays

        seen.add(digest(Changed()))
    assert len(seen) == 5
