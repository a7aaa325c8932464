"""A day in a run's life: two starts at once, SIGTERM in every phase, flipped bits, a full disk,
images that change. What it printed, and whether its weights are those of a run nobody touched.

python benchmarks/run_day.py --out FILE.json
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forked children may start no pool

from ldm_ae.bench.command import make_parser
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.bench.run_day import run_day
from ldm_ae.cli.main import main as main_of_ldm_ae


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/run_day.json"))
    arguments = parser.parse_args()
    from diffusers import VQModel  # noqa: F401 (exports need it, and no life should pay for it)

    root = Path(tempfile.mkdtemp(prefix="run_day-"))
    found = run_day(root, main_of_ldm_ae)
    text = json.dumps({"scenes": found}).replace(str(root), "ROOT")
    write_json(arguments.out, json.loads(text) | provenance())
    print(json.dumps(json.loads(text)["scenes"], indent=2))
    unequal = [name for name, scene in found.items() if not scene.get("equal", True)]
    if unequal or '"traceback": true' in text:
        raise SystemExit(f"NOT AS IT SHOULD BE ({', '.join(unequal)}): look at {root}")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
