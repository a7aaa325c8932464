"""Training that starts from a model which exists already, with its encoder frozen perhaps."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ldm_ae import config
from ldm_ae.convert.diffusers_config import LatentScaling
from ldm_ae.errors import UserError
from ldm_ae.models.base import Autoencoder
from ldm_ae.models.build import build_model
from ldm_ae.models.deeper import deepened
from ldm_ae.models.discrete import DiscreteConfig, current_section
from ldm_ae.models.kl import KLAutoencoder, KLConfig
from ldm_ae.models.plain import PlainConfig
from ldm_ae.models.settings import ModelSettings
from ldm_ae.models.teacher import Teacher
from ldm_ae.models.tiny import TinyConfig
from ldm_ae.train.config import Experiment
from ldm_ae.train.init_from import read_pretrained_config, read_pretrained_model


def load_experiment(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """An experiment from YAML and overrides such as `train.lr=1e-4`.

    What `model` does not say is taken from `model.init_from`, if that is set. Where an override
    sets it, the shape that the YAML has for a model of its own counts no more, only what other
    overrides ask for. With a frozen encoder `scaling` is taken, too, since the latents stay what
    they are. Raises UserError for every mistake in the config, and a shape that cannot start from
    there.
    """
    overrides = overrides or []
    content = config.read_yaml(path)
    names_source = "init_from" in _section(content)
    content = config.apply_overrides(content, overrides)
    given = _section(content)
    source = given.get("init_from")
    if not isinstance(source, str):
        return config.build(Experiment, content, f"config {path}")
    pretrained = read_pretrained_config(source)
    kind, has_codebook = given.get("kind"), pretrained.model.codebook is not None
    if isinstance(pretrained.model, TinyConfig):
        raise UserError(
            f"model.init_from={source} is an AutoencoderTiny: name the AutoencoderKL that it"
            " imitates"
        )
    if has_codebook and kind not in (None, DiscreteConfig.kind):
        raise UserError(
            f"model.kind={kind} with model.init_from={source}, which is of kind"
            f" {pretrained.model.kind}: take a config of that kind, as vq_f8_small, or name another"
            " model"
        )
    defaults = _defaults(pretrained.model)
    if kind == TinyConfig.kind:
        shape = {"image_channels", "latent_channels"}
        content["model"] = {**{key: getattr(pretrained.model, key) for key in shape}, **given}
        experiment = config.build(Experiment, content, f"config {path}")
        # Its latents are the teacher's as pipelines have them.
        return replace(experiment, scaling=experiment.scaling or LatentScaling(1.0))
    if kind == DiscreteConfig.kind:
        defaults.pop("quant_conv", None)  # such a model always has it
    if kind == KLConfig.kind and pretrained.model.decoder is not None:
        defaults["decoder"] = config.plain(pretrained.model.decoder)
    if not names_source:
        asked = _section(config.apply_overrides({}, overrides))
        given = _filled(_filled(asked, _weights_shape(defaults)), given)
    content["model"] = _filled(given, defaults)
    experiment = config.build(Experiment, content, f"config {path}")
    _require_same_shape(experiment.model, source)
    if experiment.train.freeze_encoder and experiment.scaling is None:
        return replace(experiment, scaling=pretrained.scaling)
    return experiment


def _section(content: dict[str, Any]) -> dict[str, Any]:
    """The `model` of a config, as today's versions have it."""
    section = content.get("model")
    return current_section(section) if isinstance(section, dict) else {}


def _weights_shape(defaults: dict[str, Any]) -> dict[str, Any]:
    """Of what a model to start from has, what its weights must fit."""
    shape = {key: defaults[key] for key in ("latent_channels", "quant_conv") if key in defaults}
    coder = {k: v for k, v in defaults["coder"].items() if k != "gradient_checkpointing"}
    return shape | {"coder": coder}


def _defaults(model: ModelSettings) -> dict[str, Any]:
    """What a config need not say of a model that it starts from."""
    found: dict[str, Any] = config.plain(model)
    if model.codebook is None:
        return {key: found[key] for key in ("coder", "latent_channels", "quant_conv")}
    codebook = {"kind": model.codebook.kind, "size": model.codebook.num_codes}
    shape = {key: found[key] for key in ("kind", "coder", "latent_channels", "code_channels")}
    return {**shape, "codebook": codebook}


def _filled(given: Any, defaults: Any) -> Any:
    """Nested mappings, the given values first."""
    if not (isinstance(given, dict) and isinstance(defaults, dict)):
        return given
    shared = {key: _filled(given[key], defaults[key]) for key in given.keys() & defaults.keys()}
    return {**defaults, **given, **shared}


def initial_model(experiment: Experiment) -> Autoencoder:
    """A model with random weights, or those of `model.init_from`.

    With a frozen encoder, nothing up to the latents' moments takes a gradient. Raises UserError if
    the config is not that of `model.init_from`, and as `read_pretrained_config`.
    """
    settings = experiment.model
    model = build_model(settings)
    if settings.init_from is not None and not isinstance(settings, TinyConfig):
        _require_same_shape(settings, settings.init_from)
        pretrained = read_pretrained_model(settings.init_from, settings.variant)
        model.load_pretrained(deepened(pretrained.state_dict(), model.state_dict()))
    if experiment.train.freeze_encoder:
        if experiment.scaling is None:
            raise UserError(
                "train.freeze_encoder=true without scaling: the export could not keep it. Read the"
                " config by ldm_ae.train.initial.load_experiment, which takes it from"
                " model.init_from, or set scaling.scaling_factor where that does not say it"
            )
        model.encoder.requires_grad_(False)
        if model.quant_conv is not None:
            model.quant_conv.requires_grad_(False)
    return model


def about_latents(experiment: Experiment) -> str | None:
    """A line for the log where training will move the latents of `model.init_from`, and with them
    the scaling that its pipelines multiply by."""
    source = experiment.model.init_from
    if source is None or experiment.train.freeze_encoder:
        return None
    if isinstance(experiment.model, TinyConfig):  # a teacher, whose latents stay
        return None
    scaling = read_pretrained_config(source).scaling
    if scaling is None or experiment.model.codebook is not None:
        return None
    kept = "is written as it is" if experiment.scaling else "is measured anew for the export"
    return (
        f"the encoder trains, too: latents will not be those of {Path(source).name}, whose"
        f" scaling_factor {scaling.scaling_factor:.5g} {kept}. A diffusion model trained on its"
        " latents needs train.freeze_encoder=true"
    )


def teacher_of(experiment: Experiment) -> Teacher | None:
    """Of a model that imitates another one. Raises UserError for one of another shape, and where a
    loss wants one and there is none."""
    settings, source = experiment.model, experiment.model.init_from
    asked = experiment.loss.target == "teacher"
    imitates = isinstance(settings, TinyConfig) or (asked and experiment.train.freeze_encoder)
    if asked and not (imitates and source is not None and settings.codebook is None):
        raise UserError(
            "loss.target=teacher: a teacher is model.init_from with train.freeze_encoder=true, of a"
            " model without a codebook, or that of model.kind=tiny"
        )
    if source is None or not imitates:
        return None
    model = read_pretrained_model(source, settings.variant)
    for key in ("image_channels", "latent_channels", "downsampling_factor"):
        ours, theirs = getattr(settings, key), getattr(model, key)
        if ours != theirs:
            hint = ": list more or fewer blocks" if key == "downsampling_factor" else ""
            raise UserError(
                f"model.init_from={source} has {theirs} as its {key}, this model {ours}{hint}"
            )
    assert isinstance(model, KLAutoencoder)
    return Teacher(model)


def _require_same_shape(given: ModelSettings, source: str) -> None:
    ours, theirs = _shape(given), _shape(read_pretrained_config(source).model)
    # A codebook is new where the model to start from has none, a decoder's shape where it is said,
    # and what may be more than there is begins without effect.
    compared = [k for k in ours if theirs[k] is not None and not (k == "decoder" and ours[k])]
    if isinstance(given, PlainConfig) and given.latent_channels > theirs["latent_channels"]:
        compared.remove("latent_channels")
    if given.coder.num_res_blocks > theirs["coder.num_res_blocks"]:
        compared.remove("coder.num_res_blocks")
    different = [
        f"model.{k}={ours[k]} instead of {theirs[k]}" for k in compared if ours[k] != theirs[k]
    ]
    if different:
        raise UserError(
            f"model.init_from={source} has another model: {'; '.join(different)}. Leave these keys"
            " out; they are taken from there"
        )


def _shape(model: ModelSettings) -> dict[str, Any]:
    """What decides the weights and what is computed with them, by key."""
    coder, codebook = asdict(model.coder), model.codebook
    del coder["gradient_checkpointing"]
    coder["attention_factors"] = sorted(coder["attention_factors"])
    return {
        **{f"coder.{key}": value for key, value in coder.items()},
        "latent_channels": model.latent_channels,
        "quant_conv": model.quant_conv,
        "decoder": model.decoder,
        "codebook.kind": None if codebook is None else codebook.kind,
        "codebook.size": None if codebook is None else codebook.num_codes,
        "code_channels": None if codebook is None else model.code_dim,
    }
