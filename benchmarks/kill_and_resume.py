"""Kills a short GAN + EMA + VQ run at random moments, resumes it each time, and compares the end
with that of a run nobody touched, bit for bit.

python benchmarks/kill_and_resume.py --kills 20 --processes 2 --source stream
"""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forked children may start no pool

from ldm_ae.bench.command import make_parser
from ldm_ae.bench.kill_and_resume import compare_ends
from ldm_ae.bench.report import write_json


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--source", choices=("folder", "stream"), default="folder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kill_and_resume.json"))
    arguments = parser.parse_args()
    from diffusers import VQModel  # noqa: F401 (exports need it, and no life should pay for it)

    random.seed(arguments.seed)
    root = Path(tempfile.mkdtemp(prefix="kill_and_resume-"))
    result = compare_ends(root, arguments.processes, arguments.source, arguments.kills)
    plural = "es" * (arguments.processes > 1)
    name = f"{arguments.source}, {arguments.processes} process{plural}"
    known = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    write_json(arguments.out, known | {name: result})
    print(json.dumps({name: result}, indent=2))
    if not result["equal"]:
        raise SystemExit(f"NOT EQUAL: look at {root}")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
