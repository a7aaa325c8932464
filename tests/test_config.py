from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from ldm_ae import config
from ldm_ae.errors import UserError
from ldm_ae.losses.adversarial import AdversarialConfig
from ldm_ae.losses.objective import LossConfig
from ldm_ae.models.discrete import DiscreteConfig
from ldm_ae.quantizers.gumbel import GumbelConfig
from ldm_ae.quantizers.vq import VQConfig
from ldm_ae.train.config import Experiment

CONFIGS = sorted(set(config.SHIPPED.glob("*.yaml")) - set(config.SHIPPED.glob("diffusion_*")))


@dataclass(frozen=True)
class Cat:
    kind: Literal["cat"] = "cat"
    lives: int = 9


@dataclass(frozen=True)
class Dog:
    kind: Literal["dog"] = "dog"
    sizes: tuple[int, ...] = (1,)
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name == "cat":
            raise ValueError("pet.name=cat: not for a dog")


@dataclass(frozen=True)
class House:
    pet: Annotated[Cat | Dog, config.TAGGED_BY_KIND] = field(default_factory=Cat)
    rate: float = 0.1
    word: str = ""
    flag: bool = False


def load(tmp_path: Path, text: str, *overrides: str) -> House:
    path = tmp_path / "house.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(House, path, list(overrides))


def test_numbers_words_and_lists_mean_what_the_type_says(tmp_path: Path) -> None:
    text = "rate: 1e-4\nword: no\nflag: yes\npet: {kind: dog, sizes: [1_000, 2]}"
    house = load(tmp_path, text)
    assert house == House(Dog(sizes=(1000, 2)), 1e-4, "no", True)


def test_overrides_reach_any_depth_and_switch_the_kind(tmp_path: Path) -> None:
    house = load(tmp_path, "rate: 1", "pet.kind=dog", "pet.sizes=[3, 4]", "pet.name=null", "rate=2")
    assert house == House(Dog(sizes=(3, 4)), 2.0)


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    text = "rate: fast\ncolour: red\npet: {kind: cat, lives: 1e5, tail: long}"
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    for part in ("rate=fast", "colour: unknown key", "pet.lives=1e5", "pet.tail: unknown key"):
        assert part in message


def test_a_configs_own_complaint_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pet.name=cat: not for a dog"):
        load(tmp_path, "pet: {kind: dog, name: cat}")


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("[1, 2]", "rate=1", "holds list, expected a mapping"),
        ("rate: [", "rate=1", "is not valid YAML"),
        ("rate: 1", "rate", "not of the form"),
        ("rate: 1", "rate.x=1", "'rate' is a value, not a section"),
        ("rate: 1", "pet.kind=fish", "fish"),
    ],
)
def test_malformed_input_is_named(tmp_path: Path, text: str, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text, override)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml is neither a file nor one that ships"):
        config.load(House, tmp_path / "none.yaml")


@pytest.mark.parametrize("given", ["kl_f8", "kl_f8.yaml", "configs/kl_f8.yaml"])
def test_shipped_configs_are_found_from_anywhere(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.find_config(given) == config.SHIPPED / "kl_f8.yaml"
    Path("kl_f8").mkdir()  # a run's folder of that name is no config
    assert config.find_config("kl_f8") == config.SHIPPED / "kl_f8.yaml"


def test_a_file_comes_before_a_shipped_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/kl_f8.yaml").write_text("rate: 1")
    assert config.load(House, "configs/kl_f8.yaml") == House(rate=1.0)
    with pytest.raises(ValueError, match="neither"):
        config.find_config("elsewhere/kl_f8.yaml")


def test_a_misspelt_config_is_answered_by_those_it_resembles() -> None:
    with pytest.raises(ValueError, match=r"config kl_8f is neither .* did you mean .*kl_f8"):
        config.find_config("kl_8f")
    with pytest.raises(ValueError, match="those are .*kl_f8, .*vq_f16"):
        config.find_config("zzzzzz")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    needed = [] if path.stem == "quickstart" else ["data.path=photos"]
    if path.stem in ("finetune_decoder", "distill_decoder"):
        needed.append("model.init_from=a_folder")
    experiment = config.load(Experiment, path, needed)
    copy = tmp_path / "copy.yaml"
    copy.write_text(config.dump(experiment), encoding="utf-8")
    assert config.load(Experiment, copy) == experiment


@pytest.mark.parametrize(
    ("section", "codebook"),
    [
        ("{kind: vq}", VQConfig()),
        ("{kind: vq, codebook: {size: 8, update: gradient}}", VQConfig(size=8, update="gradient")),
        ("{kind: dvae, codebook: {size: 8}, predict_scale: true}", GumbelConfig(size=8)),
    ],
)
def test_vq_and_dvae_as_they_used_to_be_written(tmp_path: Path, section: str, codebook) -> None:
    path = tmp_path / "earlier.yaml"
    loss = "{reconstruction: logit_laplace}" if "true" in section else "{}"
    path.write_text(f"model: {section}\nloss: {loss}\n", encoding="utf-8")
    model = config.load(Experiment, path, ["data.path=x"]).model
    assert model == DiscreteConfig(codebook=codebook, predict_scale="true" in section)
    with pytest.raises(ValueError, match="model.codebook.sizes: unknown key"):
        config.load(Experiment, path, ["data.path=x", "model.codebook.sizes=9"])


EARLIER_LOSS = """
  gram_weight: 0.0
  multi_scale_weight: 0.0
  multi_scale_levels: 3
  frequency: {haar_weight: 0.0, haar_levels: 2, haar_bands: [1.0, 1.0, 1.0], focal_weight: 0.0,
    focal_alpha: 1.0, high_pass_weight: 0.0, high_pass_sigma: 1.0}
  equivariance: {probability: 0.0, min_scale: 0.25, rotate: true}
  adversarial: {weight: 0.5, discriminator: patch, num_scales: 3}
"""


def test_switches_that_are_gone_are_read_where_they_were_off(tmp_path: Path) -> None:
    path = tmp_path / "earlier.yaml"
    path.write_text(
        f"model: {{kind: kl}}\nloss: {EARLIER_LOSS}\ntrain: {{progressive: []}}\n",
        encoding="utf-8",
    )
    experiment = config.load(Experiment, path, ["data.path=x"])
    assert experiment.loss == LossConfig(adversarial=AdversarialConfig(weight=0.5))
    on = [
        "loss.gram_weight=0.1",
        "loss.frequency.haar_bands=[1, 1, 2]",
        "loss.equivariance.probability=0.5",
        "loss.adversarial.discriminator=unet",
        "train.progressive=[{until_step: 3, size: 8}]",
    ]
    with pytest.raises(UserError) as caught:
        config.load(Experiment, path, [*on, "loss.frequency.haar_weights=1"])
    lines = str(caught.value).splitlines()[1:]
    assert [line.split("=")[0].strip() for line in lines] == [key.split("=")[0] for key in on]
    assert all("this switch is gone; remove the key" in line for line in lines)
    with pytest.raises(UserError, match="loss.frequency: unknown key"):
        config.load(Experiment, path, ["data.path=x", "loss.frequency.haar_weights=1"])


def test_the_zoo_is_complete() -> None:
    zoo = {"kl_f4", "kl_f8", "kl_f16", "kl_f32"}
    zoo |= {"vq_f4", "vq_f4_noattn", "vq_f8", "vq_f8_n256", "vq_f16"}
    assert zoo <= {path.stem for path in CONFIGS}
