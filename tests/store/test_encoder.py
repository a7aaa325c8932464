import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

import ldm_ae
from ldm_ae.data.images import to_float
from ldm_ae.errors import UserError
from ldm_ae.store.encoder import LatentEncoder
from ldm_ae.store.settings import ModelChoice, Storage

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
KL, VQ = ModelChoice(GOLDEN / "kl_v1"), ModelChoice(GOLDEN / "vq_v1")


@pytest.fixture
def pixels() -> list[np.ndarray]:
    """Three pictures of two sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (16, side, 3), dtype=np.uint8) for side in (16, 32, 16)]


def tensors(encoder: LatentEncoder, pixels: list[np.ndarray]) -> list[torch.Tensor]:
    return [load(latents.pack())["latents"] for latents in encoder.encode(pixels)]


def test_latents_are_the_model_s_in_the_order_of_the_pictures(pixels: list[np.ndarray]) -> None:
    model = ldm_ae.load(KL.folder)
    for content in ("mode", "moments"):
        found = tensors(LatentEncoder(KL, Storage(content, "float32")), pixels)
        for picture, latents in zip(pixels, found, strict=True):
            with torch.no_grad():
                posterior = model.posterior(to_float(picture))
            wanted = [posterior.mean] + [posterior.logvar] * (content == "moments")
            torch.testing.assert_close(latents, torch.cat(wanted, dim=1)[0], atol=1e-5, rtol=1e-5)


def test_types_and_statistics(pixels: list[np.ndarray]) -> None:
    (latents,) = LatentEncoder(KL, Storage(dtype="bfloat16")).encode(pixels[:1])
    stored = load(latents.pack())["latents"]
    assert stored.dtype == torch.bfloat16
    exact = tensors(LatentEncoder(KL, Storage(dtype="float32")), pixels[:1])[0]
    assert torch.equal(stored, exact.bfloat16())
    assert latents.mean == pytest.approx(exact.mean(dim=(1, 2)).tolist(), abs=1e-5)
    assert latents.std == pytest.approx(exact.std(dim=(1, 2), correction=0).tolist(), abs=1e-5)


def test_a_codebook_s_indices(pixels: list[np.ndarray]) -> None:
    encoder, model = LatentEncoder(VQ), ldm_ae.load(VQ.folder)
    (latents, *_) = encoder.encode(pixels)
    with torch.no_grad():
        wanted = model.encode_indices(to_float(pixels[0]))[0]
    found = load(latents.pack())["latents"]
    assert found.dtype == torch.int32 and torch.equal(found.long(), wanted)
    assert latents.mean == []


def test_coded_latents_are_the_codec_s(pixels: list[np.ndarray]) -> None:
    encoder, codec = LatentEncoder(KL, Storage("coded", quality=50)), ldm_ae.load_codec(KL.folder)
    exact = tensors(LatentEncoder(KL, Storage(dtype="float32")), pixels)
    for latents, wanted in zip(encoder.encode(pixels), exact, strict=True):
        decoded = codec.latents(latents.pack())[0]
        step = float((decoded - wanted).abs().max())
        assert decoded.shape == wanted.shape and step < 0.2 * float(wanted.std())


def test_as_a_function_of_a_batch_it_keeps_the_other_columns(pixels: list[np.ndarray]) -> None:
    encoder = pickle.loads(pickle.dumps(LatentEncoder(KL)))
    first = encoder({"image": pixels, "name": np.array(["a", "b", "c"])}, rank=1)
    assert first["name"] == ["a", "b", "c"] and "image" not in first
    assert first["model"] == [encoder.facts["sha256"]] * 3
    again = pickle.loads(pickle.dumps(encoder))({"image": pixels})
    assert again["latents"] == first["latents"]


def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    model = ldm_ae.load(KL.folder)
    digest = LatentEncoder(KL).facts["sha256"]
    fast = LatentEncoder(ModelChoice(KL.folder, precision="fast")).facts
    assert fast["sha256"] == digest and fast["precision"] != "fp32"
    assert LatentEncoder(VQ).facts["sha256"] != digest
    assert LatentEncoder(KL).facts["scaling_factor"] == model.scaling_factor


def test_what_does_not_fit_is_refused(pixels: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match="not divisible"):
        LatentEncoder(KL).encode([pixels[0][:15]])
    with pytest.raises(UserError, match="quality=99"):
        LatentEncoder(KL, Storage("coded", quality=99)).encode(pixels)
