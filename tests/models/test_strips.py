"""In strips, in little memory, mostly on disk: the network gives what it gives whole."""

from pathlib import Path
from typing import IO

import pytest
import torch

from ldm_ae.errors import UserError
from ldm_ae.models import memory, strips
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import ModelConfig
from ldm_ae.models.coders import CoderConfig, DecoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.fast import make_fast
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.rows import Moments
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.quantizers.bsq import BSQConfig
from ldm_ae.quantizers.fsq import FSQConfig
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 8, 16), num_res_blocks=1, norm_groups=4, mid_attention=False)
ATTENTIVE = CoderConfig(
    channels=(8, 16, 8), num_res_blocks=2, attention_factors=(2,), norm_groups=2
)
CONFIGS: dict[str, ModelConfig] = {
    "kl": KLConfig(coder=CODER),
    "kl with attention": KLConfig(coder=ATTENTIVE),
    "kl without quant convs": KLConfig(coder=CODER, quant_conv=False),
    "kl of grey": KLConfig(coder=CoderConfig(1, (8, 16), 1, norm_groups=4)),
    "kl with a decoder of its own": KLConfig(
        coder=CODER, decoder=DecoderConfig((4, 8, 16), attention_factors=(2,))
    ),
    "tiny": TinyConfig(
        encoder_width=6, encoder_blocks=(1, 0, 2), decoder_width=5, decoder_blocks=(1, 2, 1)
    ),
    "plain": PlainConfig(coder=CODER),
    "vq": DiscreteConfig(coder=CODER, codebook=VQConfig(size=16)),
    "dvae with scale": DiscreteConfig(
        coder=ATTENTIVE, codebook=GumbelConfig(size=16), predict_scale=True
    ),
    "bsq": DiscreteConfig(coder=CODER, latent_channels=4, codebook=BSQConfig(bits=4)),
    "fsq": DiscreteConfig(coder=CODER, latent_channels=2, codebook=FSQConfig(levels=(5, 3))),
}
ENOUGH = "10MB"


@pytest.fixture(params=CONFIGS, ids=str)
def model(request: pytest.FixtureRequest, make_model) -> Autoencoder:
    return make_model(CONFIGS[request.param])


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """A row or a few at a time, and nearly all on disk; the files."""
    files = []
    nameless_file = memory._nameless_file

    def kept(size: int) -> IO[bytes]:
        files.append(nameless_file(size))
        return files[-1]

    monkeypatch.setattr(memory, "_nameless_file", kept)
    monkeypatch.setattr(strips, "_CPU_STRIP", 1)
    monkeypatch.setattr(strips, "_LEAST_ROWS", 1)
    monkeypatch.setattr(strips, "Workspace", lambda _, device: memory.Workspace(1000, device))
    return files


@pytest.fixture(params=["wide", "narrow"])
def width(request: pytest.FixtureRequest) -> None:
    if request.param == "narrow":
        request.getfixturevalue("narrow")


@pytest.mark.parametrize("size", [(4, 4), (20, 36), (36, 20), (60, 4)])
@torch.no_grad()
def test_strips_give_what_the_whole_gives(
    model: Autoencoder, size: tuple[int, int], width: None
) -> None:
    images = torch.rand(2, model.image_channels, *size) * 2 - 1
    latents, found = model.encode(images), model.encode(images, ENOUGH)
    torch.testing.assert_close(found, latents, rtol=1e-5, atol=1e-5)
    decoded = model.decode(latents)
    torch.testing.assert_close(model.decode(latents, ENOUGH), decoded, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        model.reconstruct(images[..., 1:, :-1], ENOUGH),
        model.reconstruct(images[..., 1:, :-1]),
        rtol=1e-4,
        atol=1e-4,
    )
    if model.quantizer is not None:
        indices = model.encode_indices(images)
        assert torch.equal(model.encode_indices(images, ENOUGH), indices)
        again = model.decode_indices(indices, ENOUGH)
        torch.testing.assert_close(again, decoded, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_narrow_strips_are_many_and_in_files(
    make_model, narrow: list[IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests here rely on."""
    heights, read = [], strips.TensorRows.read

    def seen(self, top: int, bottom: int) -> torch.Tensor:
        heights.append(bottom - top)
        return read(self, top, bottom)

    monkeypatch.setattr(strips.TensorRows, "read", seen)
    make_model(CONFIGS["kl"]).encode(torch.rand(1, 3, 36, 36), ENOUGH)
    assert len(heights) > 10 and max(heights) <= 4 and len(narrow) > 3


@torch.no_grad()
def test_a_small_image_is_one_strip_in_memory(make_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_nameless_file", None)
    model = make_model(CONFIGS["kl"])
    assert len(list(model.decode_codes_in_strips(torch.rand(1, 4, 9, 9), ENOUGH))) == 1


@pytest.mark.parametrize("name", ["kl", "kl with attention", "vq"])
@torch.no_grad()
def test_bf16(name: str, make_model, width: None) -> None:
    model = make_model(CONFIGS[name])
    latents = model.encode(torch.rand(1, 3, 24, 36) * 2 - 1)
    exact = model.decode(latents)
    model.to(torch.bfloat16)
    whole, found = model.decode(latents.bfloat16()), model.decode(latents.bfloat16(), ENOUGH)
    assert found.dtype == whole.dtype == torch.float32
    off = (whole - exact).norm()
    assert 0 < (found - exact).norm() < 1.5 * off


@torch.no_grad()
def test_autocast(make_model, width: None) -> None:
    model = make_model(CONFIGS["kl with attention"])
    images = torch.rand(1, 3, 24, 36) * 2 - 1
    exact = model.encode(images)
    with torch.autocast("cpu", torch.bfloat16):
        whole, found = model.encode(images), model.encode(images, ENOUGH)
    assert found.dtype == whole.dtype == torch.float32
    assert 0 < (found - exact).norm() < 1.5 * (whole - exact).norm()


@torch.no_grad()
def test_a_fast_model(make_model, width: None) -> None:
    model = make_model(CONFIGS["kl with attention"])
    images = torch.rand(1, 3, 24, 36) * 2 - 1
    exact = model.encode(images)
    make_fast(model)
    assert (model.encode(images, ENOUGH) - exact).norm() < 0.05 * exact.norm()


@torch.no_grad()
def test_fp64(make_model) -> None:
    model = make_model(CONFIGS["kl with attention"]).double()
    images = torch.rand(1, 3, 16, 12, dtype=torch.float64)
    torch.testing.assert_close(model.encode(images, ENOUGH), model.encode(images))


def test_no_gradient_is_kept(make_model) -> None:
    model = make_model(CONFIGS["kl"])
    latents = torch.rand(1, 4, 3, 3, requires_grad=True)
    images = model.decode(latents, ENOUGH)
    assert not images.requires_grad and not model.encode(images, ENOUGH).requires_grad


@torch.no_grad()
def test_moments_far_from_zero() -> None:
    """Sums of squares in fp32 would lose the variance."""
    values = torch.randn(4000, 4) * 0.01 + torch.tensor([1e3, -5.0, 0.0, 1e2])
    moments = Moments()
    for part in values.split([1, 999, 3000]):
        moments.add(part)
    mean, variance = moments.of_groups(4)
    torch.testing.assert_close(mean, values.double().mean(0))
    torch.testing.assert_close(variance, values.double().var(0, correction=0), rtol=1e-3, atol=0)
    mean, variance = moments.of_groups(2)
    pairs = values.double().view(-1, 2, 2).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean[::2], pairs.mean(1))
    torch.testing.assert_close(variance[1::2], pairs.var(1, correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@torch.no_grad()
def test_nothing_is_left_of_a_call_that_ends_early(
    error: type[BaseException], make_model, narrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(memory.tempfile, "tempdir", None)
    model = make_model(CONFIGS["kl"])
    calls = 0
    silu = strips.F.silu

    def failing(x: torch.Tensor, inplace: bool) -> torch.Tensor:
        nonlocal calls
        calls += 1
        assert list(tmp_path.iterdir()) == []  # files without a name
        if calls == 40:
            assert any(not file.closed for file in narrow)
            raise error
        return silu(x, inplace=inplace)

    monkeypatch.setattr(strips.F, "silu", failing)
    with pytest.raises(error):
        model.encode(torch.rand(1, 3, 36, 36), ENOUGH)
    assert len(narrow) > 1 and all(file.closed for file in narrow)

    monkeypatch.setattr(strips.F, "silu", silu)
    rows = model.decode_codes_in_strips(torch.rand(1, 4, 9, 9), ENOUGH)
    next(rows)
    assert any(not file.closed for file in narrow)
    rows.close()
    assert all(file.closed for file in narrow)


@torch.no_grad()
def test_too_little_memory_is_refused_at_once(make_model, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(CONFIGS["kl with attention"])
    monkeypatch.setattr(strips._Walk, "stored", None)
    with pytest.raises(UserError, match="max_memory is 20 kB: 36x36 positions take at least"):
        model.encode(torch.rand(1, 3, 36, 36), "20kB")
    with pytest.raises(UserError, match=r"at least .* MB here, .* keys and values of attention"):
        model.encode(torch.rand(1, 3, 800, 800), "5MB")
    with pytest.raises(UserError, match="max_memory='much'"):
        model.decode(torch.rand(1, 4, 3, 3), "much")
