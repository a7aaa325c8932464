import pytest

from ldm_ae.codec.digest import model_digest
from ldm_ae.data.images import to_float
from ldm_ae.export.export import export
from ldm_ae.models.build import build_model
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.pretrained import load_codec
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig


def test_digest_is_of_what_decodes(make_codec) -> None:
    codec = make_codec("vq")
    before = codec.digest

    def after() -> bytes:
        return model_digest(codec.model, codec.prior)

    codec.model.encoder.conv_in.weight.data[0] += 1
    assert after() == before
    for parameter in (
        codec.model.decoder.conv_out.bias,
        codec.model.post_quant_conv.weight,
        codec.model.quantize.embedding.weight,
    ):
        parameter.data.view(-1)[0] += 1
        changed = after()
        assert changed != before
        before = changed


@pytest.mark.parametrize(
    "settings",
    [
        {"codebook": VQConfig(size=16, l2_normalize=True)},
        {"codebook": GumbelConfig(size=16)},
        {"codebook": VQConfig(size=16), "predict_scale": True},
    ],
    ids=["on the sphere", "gumbel", "with scale"],
)
def test_a_trained_models_digest_is_its_exports(settings, picture, tmp_path) -> None:
    coder = CoderConfig(channels=(4, 8), num_res_blocks=1, norm_groups=2)
    config = DiscreteConfig(coder=coder, **settings)
    model = build_model(config).eval()
    batch = to_float(picture(32, 32))
    export(model, tmp_path / "out", batches=[batch], sample_size=32, resolved_config="", card={})
    exported = load_codec(tmp_path / "out")
    assert model_digest(model, exported.prior) == exported.digest
