import numpy as np
import pytest
from skimage import data

import ldm_ae

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["codec", "kl", "vq"])
def test_a_file_has_the_same_symbols_wherever_it_is_read(name: str) -> None:
    photo = data.astronaut()[:200, :264]
    on_gpu, on_cpu = ldm_ae.load_codec(name, device="cuda"), ldm_ae.load_codec(name)
    for writer, reader in ((on_gpu, on_cpu), (on_cpu, on_gpu)):
        file = writer.compress(photo)
        assert np.array_equal(reader.unpack(file).symbols, writer.unpack(file).symbols)
        ours, theirs = (codec.decompress(file).astype(int) for codec in (writer, reader))
        assert np.abs(ours - theirs).mean() < 0.05
