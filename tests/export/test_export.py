import dataclasses
import json

import diffusers
import pytest
import torch

import ldm_ae
from ldm_ae.codec.priors.file import EARLIER_PRIORS
from ldm_ae.convert import diffusers_class
from ldm_ae.convert.agreement import Agreement, check, compare, relative_difference
from ldm_ae.convert.diffusers_class import as_diffusers
from ldm_ae.convert.weights import to_diffusers_state
from ldm_ae.errors import UserError
from ldm_ae.export import export as export_module
from ldm_ae.export.export import FILES, export
from ldm_ae.models.coders import CoderConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.models.fast import make_fast
from ldm_ae.models.kl import KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig

CODER = CoderConfig(channels=(8, 16), num_res_blocks=1, norm_groups=4, attention_factors=(2,))
CODES = VQConfig(size=64)
CONFIGS = {
    "kl": KLConfig(coder=CODER),
    "kl without quant convs": KLConfig(coder=CODER, latent_channels=16, quant_conv=False),
    "kl of fixed variance": KLConfig(coder=CODER, posterior="fixed", fixed_std=0.3),
    "kl of fixed variance without quant convs": KLConfig(
        coder=CODER, posterior="fixed", fixed_std=0.3, quant_conv=False
    ),
    "plain": PlainConfig(coder=CODER),
    "plain without quant convs": PlainConfig(coder=CODER, quant_conv=False),
    "vq": DiscreteConfig(coder=CODER, latent_channels=4, code_channels=3, codebook=CODES),
    "vq on the sphere": DiscreteConfig(
        coder=CODER, latent_channels=4, codebook=dataclasses.replace(CODES, l2_normalize=True)
    ),
    "dvae": DiscreteConfig(coder=CODER, codebook=GumbelConfig(size=64)),
    "dvae with scale": DiscreteConfig(
        coder=CODER, codebook=GumbelConfig(size=64), predict_scale=True
    ),
}


def write(model, out, images, **options):
    given = {"batches": images.split(1), "sample_size": 64, "resolved_config": "", "card": {}}
    return export(model, out, **{**given, **options})


@pytest.mark.parametrize("name", CONFIGS)
def test_export_opens_in_diffusers_and_here_with_the_same_output(
    name, make_model, images, tmp_path
):
    model = make_model(CONFIGS[name])
    folder = write(model, tmp_path / "out", images)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    cls = diffusers.AutoencoderKL if name[:2] in ("kl", "pl") else diffusers.VQModel
    theirs, ours = cls.from_pretrained(folder), ldm_ae.load(folder)
    for other in (theirs, _AsDiffusers(ours)):
        agreement = compare(model, other, [images])
        assert max(agreement.encode, agreement.decode) <= 1e-4
    assert not ours.training
    content = json.loads((folder / "config.json").read_text())
    assert content["scaling_factor"] == ours.scaling_factor == theirs.config.scaling_factor
    with torch.no_grad():
        latents = model.encode(images)
    if not name.startswith("kl"):
        assert float(latents.std()) * ours.scaling_factor == pytest.approx(1, rel=1e-2)
    if name.startswith("plain"):
        assert ours.posterior(images).logvar.unique().tolist() == [-30.0]
    if "fixed" in name:
        assert ours.posterior(images).std.unique().tolist() == [pytest.approx(0.3)]


class _AsDiffusers:
    """Our loaded model behind the calls that `compare` makes."""

    def __init__(self, model):
        self.model, self.quantize = model, self._Codebook(model)

    class _Codebook:
        def __init__(self, model):
            self.model = model

        def __call__(self, latents):
            return None, None, (None, None, self.model.quantize.indices(latents))

        @property
        def embedding(self):
            return self.model.quantize.embedding

    class _Encoded:
        def __init__(self, posterior):
            self.latent_dist = posterior

    class _Latents:
        def __init__(self, latents):
            self.latents = self.sample = latents

    def encode(self, images):
        latents, posterior = self.model.latents_and_posterior(images)
        return self._Latents(latents) if posterior is None else self._Encoded(posterior)

    def decode(self, latents):
        return self._Latents(self.model.decode(latents))


def test_training_buffers_stay_behind(make_model):
    model = make_model(CONFIGS["vq"])
    assert set(model.state_dict()) - set(to_diffusers_state(model)) == {
        f"quantize.{name}"
        for name in ("initialized", "num_updates", "passes_unused", "ema_count", "ema_sum")
    }


def test_a_different_output_is_refused_and_leaves_nothing(
    make_model, images, tmp_path, monkeypatch
):
    def spoiled(model):
        state = to_diffusers_state(model)
        state["decoder.conv_out.bias"] += 1e-3 * 3
        return state

    monkeypatch.setattr(diffusers_class, "to_diffusers_state", spoiled)
    with pytest.raises(ValueError, match="refused to write: decode"):
        write(make_model(CONFIGS["kl"]), tmp_path / "a" / "out", images)
    assert list(tmp_path.iterdir()) == []


def test_unknown_weights_are_refused(make_model, images, tmp_path):
    model = make_model(CONFIGS["kl"])
    model.register_buffer("surprise", torch.zeros(1))
    with pytest.raises(ValueError, match=r"refused to export.*surprise"):
        write(model, tmp_path / "out", images)
    assert list(tmp_path.iterdir()) == []


def test_broken_weights_are_refused(make_model, images, tmp_path):
    model = make_model(CONFIGS["kl"])
    model.decoder.conv_out.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="decode of the diffusers class differs by inf"):
        write(model, tmp_path / "out", images)


def test_a_rounded_model_is_refused(make_model, images, tmp_path):
    model = make_model(CONFIGS["kl"])
    make_fast(model)
    with pytest.raises(UserError, match="this model is fast: .*without precision=fast"):
        write(model, tmp_path / "out", images)
    assert not (tmp_path / "out").exists()


def test_no_images_is_an_error(make_model, images, tmp_path):
    with pytest.raises(ValueError, match="no training image"):
        write(make_model(CONFIGS["kl"]), tmp_path / "out", images, batches=[])


def test_wrong_code_that_is_no_tie_is_refused(make_model, images):
    model = make_model(CONFIGS["vq"])
    exported = as_diffusers(model, export_module.LatentScaling(1.0))
    exported.quantize.embedding.weight.data[:32] += 0.05
    with pytest.raises(ValueError, match="get other codes"):
        compare(model, exported, [images])


def test_tied_codes_are_counted_not_refused(make_model, images):
    """Two codes at the same distance: the export's order decides, and both decode it alike."""
    model = make_model(CONFIGS["vq"])
    with torch.no_grad():
        codes = model.quantize.embedding.weight
        codes[1::2] = codes[::2]
        exported = as_diffusers(model, export_module.LatentScaling(1.0))
        exported.quantize.embedding.weight[::2] += 1e-7 * 3
    agreement = compare(model, exported, [images])
    assert agreement.num_ties > 0
    check(agreement)


def test_largest_value_is_the_measure():
    assert relative_difference(torch.tensor([10.0, 1.0]), torch.tensor([10.0, 1.1])) == (
        pytest.approx(0.01)
    )
    check(Agreement(1e-4, 0.0))
    with pytest.raises(ValueError, match="encode"):
        check(Agreement(1.01e-4, 0.0))


def test_existing_folders(make_model, images, tmp_path):
    model = make_model(CONFIGS["kl"])
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="used is not empty"):
            write(model, used, images, overwrite=overwrite)
    assert (used / "notes.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    write(model, empty, images)
    with pytest.raises(ValueError, match="already holds an export"):
        write(model, empty, images)
    (empty / EARLIER_PRIORS.replace("*", "0123")).touch()  # as `ldm-ae calibrate` leaves one
    write(model, empty, images, overwrite=True, card={"Training": {"step": 7}})
    assert "| step | 7 |" in (empty / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]


def test_failure_while_writing_keeps_the_earlier_export(make_model, images, tmp_path, monkeypatch):
    model = make_model(CONFIGS["kl"])
    out = write(model, tmp_path / "out", images)
    before = (out / "README.md").read_bytes()

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(diffusers.AutoencoderKL, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space"):
        write(model, out, images, overwrite=True)
    assert (out / "README.md").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("training", "written"), [(64, 256), (256, 256), (300, 304), (512, 512)])
def test_sample_size_gives_whole_tiles(training, written, make_model, images, tmp_path):
    folder = write(make_model(CONFIGS["kl"]), tmp_path / "out", images, sample_size=training)
    assert json.loads((folder / "config.json").read_text())["sample_size"] == written
