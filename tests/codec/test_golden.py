"""Files of earlier versions go on decoding to the same symbols.

`golden/` holds folders of tiny models with their priors, files that were written with them, and
the symbols in them, as `symbols.json`: SHA-256 of the int64 symbols, little-endian in C order, and
the first few in plain sight. `python tests/codec/test_golden.py` writes sets that are missing;
those that are there are never written again: a new format version adds files.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from ldm_ae.files import replacing
from ldm_ae.pretrained import load_codec

GOLDEN = Path(__file__).with_name("golden")
SETS = ("kl_v1", "vq_v1", "kl_context_v1", "vq_context_v1")


def summary(symbols: np.ndarray) -> dict[str, object]:
    content = np.ascontiguousarray(symbols, dtype="<i8").tobytes()
    return {
        "shape": list(symbols.shape),
        "sha256": hashlib.sha256(content).hexdigest(),
        "first": symbols.ravel()[:8].tolist(),
    }


@pytest.mark.parametrize("name", SETS)
def test_old_files_hold_the_same_symbols(name: str) -> None:
    codec = load_codec(GOLDEN / name)
    wanted = json.loads((GOLDEN / name / "symbols.json").read_text())
    assert sorted(wanted) == sorted(path.name for path in (GOLDEN / name).glob("*.lae"))
    assert len(wanted) >= 3
    for file, found in wanted.items():
        data = (GOLDEN / name / file).read_bytes()
        assert summary(codec.unpack(data).symbols) == found
        image = codec.decompress(data)
        assert image.shape[:2] == (
            codec.unpack(data).header.height,
            codec.unpack(data).header.width,
        )


def make(name: str) -> None:
    """Write a set: its model's weights are small multiples of 1/64, made of integers."""

    import torch
    from safetensors.torch import save_file

    from ldm_ae.codec.codec import Codec
    from ldm_ae.codec.fitting.fit import Kind, fit_prior
    from ldm_ae.codec.priors.file import save_prior
    from ldm_ae.convert.diffusers_config import LatentScaling, to_diffusers_config
    from ldm_ae.convert.places import STEM
    from ldm_ae.convert.weights import to_diffusers_state
    from ldm_ae.data.images import to_float
    from ldm_ae.models.build import build_model
    from ldm_ae.models.coders import CoderConfig
    from ldm_ae.models.discrete import DiscreteConfig
    from ldm_ae.models.kl import KLConfig
    from ldm_ae.quantizers.vq import VQConfig

    coder = CoderConfig(channels=(4, 4), num_res_blocks=1, norm_groups=2)
    if name.startswith("kl"):
        model = build_model(KLConfig(coder=coder))
    else:
        model = build_model(DiscreteConfig(coder=coder, codebook=VQConfig(size=32)))
    state = 12345
    for parameter in model.parameters():
        for index in range(parameter.numel()):
            state = (state * 1103515245 + 12345) % 2**31
            parameter.data.view(-1)[index] = ((state >> 16) % 65 - 32) / 64
    model.eval()
    folder = GOLDEN / name
    folder.mkdir(parents=True)
    rows, columns, channels = np.indices((60, 60, 3))
    pictures = {
        "waves": ((rows * 5 + columns * columns * 3 // 7) * (channels + 1) % 256).astype(np.uint8),
        "one_pixel": np.full((1, 1, 3), 90, dtype=np.uint8),
        "strip": ((columns * 9 + rows) % 256).astype(np.uint8)[:3, :, :2],
    }
    kind: Kind = "context" if "context" in name else "factorised"
    with torch.no_grad():
        waves = to_float(pictures["waves"])
        discrete = name.startswith("vq")
        sample = (model.encode_indices if discrete else model.encode)(waves)[0].numpy()
        codes = model.quantize.codes().numpy() if discrete else None
    # A few steps: networks that are no good, but whose every layer matters.
    codec = Codec(model, fit_prior([sample], kind, codes=codes, steps=5))
    config = to_diffusers_config(model.config, LatentScaling(scaling_factor=1.0), 64)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(to_diffusers_state(model), folder / f"{STEM}.safetensors")
    save_prior(codec.prior, folder)
    symbols = {}
    for picture, image in pictures.items():
        for quality in [None] if codec.content.discrete else [0, 40, 63]:
            data = codec.compress(image, quality)
            file = f"{picture}.lae" if quality is None else f"{picture}_q{quality}.lae"
            (folder / file).write_bytes(data)
            symbols[file] = summary(codec.unpack(data).symbols)
    with replacing(folder / "symbols.json") as aside:
        aside.write_text(json.dumps(symbols, indent=2) + "\n")


if __name__ == "__main__":
    for missing in SETS:
        if not (GOLDEN / missing).exists():
            make(missing)
