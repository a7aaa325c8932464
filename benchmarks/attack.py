"""Hostile files on every way into the package: each must be read or refused, and soon.

python benchmarks/attack.py --model DIR --files 100000 --out FILE.json
"""

import os
from dataclasses import asdict
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "0"  # the network must not be asked even where it may be

from ldm_ae.bench.attack import SHARES, attack_apart
from ldm_ae.bench.command import add_models, make_parser, named_folders, one_line_errors
from ldm_ae.bench.report import provenance, write_json


def main() -> None:
    parser = make_parser(__doc__)
    add_models(parser)
    parser.add_argument("--files", type=int, default=100_000, help="how many, over all models")
    parser.add_argument("--kind", choices=SHARES, action="append", help="of file; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    kinds, found, clean = arguments.kind or list(SHARES), {}, True
    with one_line_errors():
        folders = named_folders(arguments.model)
        total = sum(SHARES[kind] for kind in kinds)
        for kind in kinds:
            share = round(arguments.files * SHARES[kind] / (total * len(folders)))
            for seed, (name, folder) in enumerate(folders.items(), arguments.seed):
                outcome = attack_apart(kind, folder, share, seed)
                clean &= outcome.clean
                found.setdefault(kind, {})[name] = asdict(outcome)
                print(f"{kind}, {name}: {asdict(outcome)}", flush=True)
    if arguments.out is not None:
        report = {"seed": arguments.seed, "files": arguments.files, "kinds": found}
        write_json(arguments.out, {**report, **provenance()})
    if not clean:
        raise SystemExit("NOT CLEAN: see the faults, opened files and connections above")


if __name__ == "__main__":
    main()
