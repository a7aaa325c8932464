from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ldm_ae.config_keys import keys, page, suggestion
from ldm_ae.train.config import Experiment

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Red:
    """depth: how red. shade, tone: two more | of them."""

    kind: Literal["red"] = "red"
    depth: int = 1_000
    shade: float | None = None
    tone: tuple[float, ...] = (0.5, 1.0)


@dataclass(frozen=True)
class Blue:
    """depth: how red. sky: or the sea: what it is of."""

    sky: bool
    kind: Literal["blue"] = "blue"
    depth: int = 1_000


@dataclass(frozen=True)
class Paint:
    """name: on the tin."""

    colour: Red | Blue = field(default_factory=Red)
    name: str = "x"


def test_keys_have_their_types_defaults_and_meanings() -> None:
    found = {(key.name, key.kind): key for key in keys(Paint)}
    assert next(iter(found)) == ("name", "")
    depth = found["colour.depth", "red"]
    assert (depth.values, depth.default, depth.about) == ("integer", "1_000", "how red.")
    shade, tone = found["colour.shade", "red"], found["colour.tone", "red"]
    assert shade.values == "number or `null`" and shade.default == "null"
    assert shade.about == tone.about == "two more | of them."
    assert tone.values == "list of number" and tone.default == "[0.5, 1.0]"
    sky = found["colour.sky", "blue"]
    assert sky.default == "" and sky.about == "or the sea: what it is of."


def test_the_page_says_what_kinds_share_once() -> None:
    text = page(Paint, "Paint")
    assert text.startswith("# Paint\n\n## The file itself\n")
    assert "## colour, kind `red`, `blue`" in text and text.count("`colour.depth`") == 1
    assert "two more \\| of them." in text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("train.ls", "train.lr"),
        ("loss.perceptual_wieght", "loss.perceptual_weight"),
        ("model.channels", "model.coder.channels"),
        ("steps", "train.steps"),
    ],
)
def test_a_slip_is_answered_with_the_key_that_was_meant(given: str, meant: str) -> None:
    assert re.search(rf"did you mean .*\b{re.escape(meant)}\b", suggestion(Experiment, given))


def test_what_resembles_nothing_has_no_suggestion() -> None:
    assert suggestion(Experiment, "zzzzzz.qqqqq") == ""


def test_the_page_of_the_documents_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert text == page(Experiment, "Every key of a config"), "run scripts/config_page.py"


def test_every_key_of_training_data_and_loss_is_explained() -> None:
    sections = ("train.", "data.", "loss.")
    missing = [
        key.name for key in keys(Experiment) if key.name.startswith(sections) and not key.about
    ]
    assert missing == ["loss.kl_units", "loss.log_variance_init", "loss.adversarial.r1_every"]
