"""What pyproject.toml, the lock file and the wheel say must agree."""

import tomllib
import zlib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ldm_ae import config, zoo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_lock_pins_all_that_is_asked_for_above_its_floors() -> None:
    lines = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines()
    pinned = [Requirement(line) for line in lines]
    optional = PROJECT["project"]["optional-dependencies"]
    # Engines that tests and benchmarks use only where they are there.
    left_out = ("openvino", "ray")
    extras = [items for name, items in optional.items() if name not in left_out]
    asked_for = PROJECT["project"]["dependencies"] + [item for extra in extras for item in extra]
    for item in map(Requirement, asked_for):
        if item.name == "ldm-ae":
            continue
        assert item.specifier, f"{item.name} has no floor"
        pins = [pin for pin in pinned if pin.name == canonicalize_name(item.name)]
        assert pins, f"{item.name} is not in requirements-dev.lock: make lock"
        for pin in pins:
            (version,) = (part.version for part in pin.specifier)
            assert item.specifier.contains(version), f"{pin} is not {item}: make lock"


def test_configs_travel_in_the_wheel() -> None:
    assert "configs/*.yaml" in PROJECT["tool"]["setuptools"]["package-data"]["ldm_ae"]
    assert config.SHIPPED == ROOT / "ldm_ae" / "configs"


def test_models_travel_in_the_wheel_and_stay_small() -> None:
    assert "weights/zoo/*/*" in PROJECT["tool"]["setuptools"]["package-data"]["ldm_ae"]
    assert zoo.FOLDER.relative_to(ROOT / "ldm_ae").as_posix() == "weights/zoo"
    in_wheel = (len(zlib.compress(path.read_bytes())) for path in zoo.FOLDER.rglob("*.*"))
    assert sum(in_wheel) <= 48 << 20
