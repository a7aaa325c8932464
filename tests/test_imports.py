"""Imports go down only. Each module has a floor; it may import from lower floors, and from its
own floor as long as no cycle arises."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ldm_ae"

# First match wins; the higher, the later in the list of what may import what.
FLOORS = {
    "ldm_ae.cli_files": 5,
    "ldm_ae.cli": 6,
    "ldm_ae.train.main": 6,
    "ldm_ae.train.loop": 6,
    "ldm_ae.convert.run": 5,
    "ldm_ae.train": 4,
    "ldm_ae.codec": 4,
    "ldm_ae.convert": 4,
    "ldm_ae.metrics.compare": 4,
    "ldm_ae.metrics.evaluate": 3,
    "ldm_ae.metrics.rate_distortion": 3,
    "ldm_ae.metrics.rd_run": 3,
    "ldm_ae.metrics.rd_summary": 3,
    "ldm_ae.metrics.peak_memory": 3,
    "ldm_ae.losses.objective": 3,
    "ldm_ae.models.build": 3,
    "ldm_ae.models.outputs": 0,
    "ldm_ae.models.noise": 0,
    "ldm_ae.models.gaussian": 0,
    "ldm_ae.models.blocks": 1,
    "ldm_ae.models.coders": 1,
    "ldm_ae.models": 2,
    "ldm_ae.losses": 2,
    "ldm_ae.quantizers": 1,
    "ldm_ae.data": 1,
    "ldm_ae.metrics": 1,
    "ldm_ae.viz": 1,
    "ldm_ae.config": 0,
    "ldm_ae.distributed": 0,
    "ldm_ae.files": 0,
}

# Which top-level packages only some modules may import.
ONLY = {
    "accelerate": ("ldm_ae.train",),
    "diffusers": ("ldm_ae.convert",),
    "pydantic": ("ldm_ae.config",),
    "yaml": ("ldm_ae.config",),
    "lpips": ("ldm_ae.losses",),
    "constriction": ("ldm_ae.codec",),
    "datasets": ("ldm_ae.data",),
}


def modules() -> dict[str, set[str]]:
    """Module name -> what it imports, at whatever depth."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are absolute"
                imported.add(node.module or "")
        found[name] = imported
    return found


MODULES = modules()


def floor(name: str) -> int:
    matches = [prefix for prefix in FLOORS if name == prefix or name.startswith(prefix + ".")]
    assert matches, f"{name} has no floor: add it to FLOORS"
    return FLOORS[max(matches, key=len)]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"ldm_ae"}))
def test_imports_go_down(name: str) -> None:
    upward = [
        imported
        for imported in MODULES[name]
        if imported in MODULES and imported != "ldm_ae" and floor(imported) > floor(name)
    ]
    assert upward == []


def test_no_cycles() -> None:
    seen: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join((*path, name))}"
        if seen.setdefault(name, 0):
            return
        for imported in MODULES[name]:
            if imported in MODULES and imported != "ldm_ae":
                visit(imported, (*path, name))
        seen[name] = 1

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("package", ONLY)
def test_some_packages_have_one_door(package: str) -> None:
    users = {
        name
        for name, imported in MODULES.items()
        if any(item == package or item.startswith(package + ".") for item in imported)
    }
    outside = {name for name in users if not name.startswith(ONLY[package])}
    assert outside == set()
    assert users
