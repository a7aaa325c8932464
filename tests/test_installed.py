"""What is imported when, and what is said of an extra that is not installed."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import ldm_ae
from ldm_ae.installed import MissingExtraError, require_extra, version

ROOT = Path(__file__).parents[1]
# Of a distribution whose `bench` includes `train`, as the wheel's own metadata are written.
REQUIRES = [
    "numpy>=2",
    'absent-one>=1; extra == "train"',
    'pytest>=1; extra == "train"',
    'ldm-ae[train]; extra == "bench"',
    'absent.two>=1; extra == "bench"',
    'absent-elsewhere>=1; python_version < "3" and extra == "bench"',
]
EXTRAS = (
    "accelerate",
    "datasets",
    "diffusers",
    "lpips",
    "matplotlib",
    "pandas",
    "pyarrow",
    "scipy",
)
EXTRAS += ("skimage", "tensorboard", "torchvision", "transformers")


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, text=True
    )


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: REQUIRES)
    with pytest.raises(MissingExtraError, match=r'^absent-one not .* pip install "ldm-ae\[train]"'):
        require_extra("train")
    with pytest.raises(MissingExtraError, match=r"^absent-one, absent\.two not .*ldm-ae\[bench]"):
        require_extra("bench")
    require_extra("jxl")  # asks for nothing here


def test_a_bare_tree_has_a_version_and_no_extras_to_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setattr(metadata, "requires", absent)
    assert version() == "0+unknown"
    require_extra("train")


def test_every_public_name_is_there_and_no_other() -> None:
    for name in ldm_ae.__all__:
        assert getattr(ldm_ae, name) is not None
    assert dir(ldm_ae) == sorted(ldm_ae.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        _ = ldm_ae.train_everything


def test_importing_the_package_or_asking_for_help_loads_no_torch() -> None:
    code = (
        "import sys, ldm_ae, ldm_ae.cli.main, ldm_ae.cli.info; assert 'torch' not in sys.modules\n"
        "ldm_ae.load; assert 'torch' in sys.modules"
    )
    assert run(code).returncode == 0


def test_using_a_model_needs_no_extra() -> None:
    """Loading, compressing, decompressing, calibrating with all that the extras bring blocked."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "from ldm_ae.cli.main import main; import ldm_ae, shutil, tempfile, pathlib\n"
        "from PIL import Image\n"
        "work = pathlib.Path(tempfile.mkdtemp())\n"
        "model = shutil.copytree('tests/codec/golden/kl_v1', work / 'kl')\n"
        "ldm_ae.load(model)\n"
        "Image.effect_noise((32, 24), 50).convert('RGB').save(work / 'a.png')\n"
        "picture, packed, back = (str(work / name) for name in ('a.png', 'a.lae', 'b.png'))\n"
        "of = ['--model', str(model)]\n"
        "fit = ['--images', str(work), '--prior', 'factorised']\n"
        "assert main(['calibrate', str(model), *fit]) == 0\n"
        "assert main(['compress', picture, packed, *of]) == 0\n"
        "assert main(['decompress', packed, back, *of]) == 0\n"
        "assert Image.open(back).size == (32, 24)\n"
        "shutil.rmtree(work)"
    )
    finished = run(code)
    assert finished.returncode == 0, finished.stderr
