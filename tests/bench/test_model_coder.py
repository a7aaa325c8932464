from pathlib import Path

import numpy as np
import pytest
from skimage import data

from ldm_ae.bench.coder import Point
from ldm_ae.bench.model_coder import ModelCoder
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
PHOTO = data.astronaut()[100:140, 100:132]


@pytest.mark.parametrize("name", ["kl_v1", "kl_context_v1", "vq_v1"])
def test_its_files_are_the_codecs_and_its_parts_cost_something(name: str) -> None:
    coder, codec = ModelCoder("mine", GOLDEN / name, [20, 40]), load_codec(GOLDEN / name)
    discrete = codec.content.discrete
    assert coder.points == ([Point("", 0)] if discrete else [Point("", 20), Point("", 40)])
    assert len(coder.qualities) == (1 if discrete else 64)
    point = coder.points[-1]
    file = coder.encode(PHOTO, point)
    assert file == codec.compress(PHOTO, None if discrete else 40)
    assert np.array_equal(coder.decode(file, point), codec.decompress(file))
    cost = coder.cost(PHOTO, point)
    assert cost["payload_bytes"] >= cost["cross_entropy_bytes"]
    assert cost["network"]["num_parameters"] == sum(p.numel() for p in codec.model.parameters())
    for part in ("network", "prior"):
        assert min(cost[part]["encode_cpu_seconds"], cost[part]["decode_cpu_seconds"]) > 0


def test_another_model_is_another_identity() -> None:
    first, again, other = (
        ModelCoder("mine", GOLDEN / name).identity for name in ("kl_v1", "kl_v1", "kl_context_v1")
    )
    assert first == again != other
