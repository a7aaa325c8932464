"""Imports go down only: one line a package, and none imports its own line's neighbours upwards."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ldm_ae"

# From the ground up. Each may import what stands above it in this list, never what is below.
FLOORS = (
    "errors",
    "installed",
    "files",
    "folder_lock",
    "zoo",
    "hub",
    "json_file",
    "digests",
    "strangers",
    "weights_file",
    "threads",
    "distributed",
    "noise",
    "config_keys",
    "config",
    "data",
    "quantizers",
    "models",
    "losses",
    "metrics",
    "viz",
    "convert",
    "codec.format",
    "codec.priors",
    "codec.fitting",
    "codec",
    "pretrained",
    "store",
    "export",
    "train",
    "diffusion",
    "bench",
    "inspection",
    "cli",
    "__main__",
)

# Which top-level packages only some modules may import.
ONLY = {
    "accelerate": ("ldm_ae.train", "ldm_ae.diffusion"),
    "diffusers": (
        "ldm_ae.convert",
        "ldm_ae.export",
        "ldm_ae.train.init_from",
        "ldm_ae.diffusion",
        "ldm_ae.bench.generation",
        "ldm_ae.bench.plain_training",
        "ldm_ae.bench.throughput_timing",
        "ldm_ae.bench.tiling",
    ),
    "pydantic": ("ldm_ae.config",),
    "yaml": ("ldm_ae.config",),
    "lpips": ("ldm_ae.losses",),
    "packaging": ("ldm_ae.installed",),
    "matplotlib": ("ldm_ae.viz", "ldm_ae.bench"),
    "constriction": ("ldm_ae.codec",),
    "datasets": ("ldm_ae.data",),
    "ray": ("ldm_ae.store.engines", "ldm_ae.bench.encode_dataset"),
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
    package, room = name.split(".")[1], ".".join(name.split(".")[1:3])
    assert package in FLOORS, f"ldm_ae.{package} has no floor: add it to FLOORS"
    return FLOORS.index(room if room in FLOORS else package)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"ldm_ae"}))
def test_imports_go_down(name: str) -> None:
    upward = [
        imported
        for imported in MODULES[name]
        if imported.startswith("ldm_ae.") and floor(imported) > floor(name)
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
