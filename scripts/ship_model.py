"""Put an export into the package as one of its models, such as codec-1.

    python scripts/ship_model.py runs/codec/export codec-1 --about about.md

The weights are rounded to fp16. A version that is there is never replaced, since files were written
with it. ABOUT is Markdown that the model's card gets in front of its tables: what it was trained
on, with its terms, by which commands, and what was measured.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ldm_ae import zoo
from ldm_ae.bench.command import one_line_errors
from ldm_ae.codec.priors.file import PRIOR_FILE
from ldm_ae.convert.places import STEM
from ldm_ae.digests import DIGESTS, write_digests
from ldm_ae.errors import UserError
from ldm_ae.export.export import FILES, STATISTICS
from ldm_ae.export.training_config import TRAINING_CONFIG, without_places
from ldm_ae.pretrained import load_codec


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("name", help="NAME-VERSION")
    parser.add_argument("--about", type=Path, required=True)
    arguments = parser.parse_args()
    with one_line_errors():
        folder = ship(arguments.export, arguments.name, arguments.about.read_text("utf-8"))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size} bytes")


def ship(export: Path, name: str, about: str) -> Path:
    """Raises UserError for a name without a version, one that is taken, and no export."""
    folder = zoo.FOLDER / name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z]+)*-[1-9][0-9]*", name):
        raise UserError(f"{name}: name it NAME-VERSION, such as codec-1")
    if folder.exists():
        raise UserError(f"{folder} exists: files may have been written with it; raise the version")
    missing = [file for file in FILES if file != DIGESTS and not (export / file).is_file()]
    if missing:
        raise UserError(f"{export} is no export: it has no {', '.join(missing)}")
    folder.mkdir(parents=True)
    for file in ("config.json", STATISTICS, PRIOR_FILE):
        shutil.copyfile(export / file, folder / file)
    weights = load_file(export / f"{STEM}.safetensors")
    halves = {key: value.to(torch.float16).contiguous() for key, value in weights.items()}
    save_file(halves, folder / f"{STEM}.safetensors", {"format": "pt"})
    config = without_places(export / TRAINING_CONFIG)
    (folder / TRAINING_CONFIG).write_text(config, "utf-8")
    card = (
        (export / "README.md")
        .read_text("utf-8")
        .replace("## Use\n", f"{about.strip()}\n\n## Use\n")
    )
    card = card.replace('ldm_ae.load("path/to/this/folder")', f'ldm_ae.load("{name}")')
    card = card.replace("from diffusers import", "from ldm_ae import zoo\nfrom diffusers import")
    card = card.replace('"path/to/this/folder"', f'zoo.folder_of("{name}")')
    (folder / "README.md").write_text(card, "utf-8")
    write_digests(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    remember(name, load_codec(folder).digest)
    return folder


def remember(name: str, digest: bytes) -> None:
    path = zoo.FOLDER / zoo.INDEX
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | {digest.hex(): name}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
