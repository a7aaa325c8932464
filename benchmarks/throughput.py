"""Time of a training step, of encoding and of decoding: ours beside diffusers', one CPU thread.

python benchmarks/throughput.py --weights DIR --out benchmarks/results/throughput.json

Milliseconds are the processor's, the least of all calls. Ours and diffusers' take turns, each in a
process of its own. --gpu measures one task of a model on a CUDA device instead. speed_up is over
diffusers as called, over_best over diffusers' best setting.
"""

from pathlib import Path

from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.bench.throughput import compare
from ldm_ae.bench.throughput_subjects import coder_subjects, gpu_subjects, step_subjects

COLUMNS = {
    "task": "s",
    "model": "s",
    "side": "d",
    "name": "s",
    "milliseconds": ".1f",
    "images_per_second": ".1f",
    "first_seconds": ".1f",
    "speed_up": ".2f",
    "over_best": ".2f",
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="FILE.json")
    parser.add_argument("--weights", help="folder of the perceptual network's weights")
    parser.add_argument("--models", nargs="+", default=["kl_f8_small", "kl_f8"])
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--step-model", default="kl_f8_small", help="whose training step")
    parser.add_argument("--step-side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8, help="images of a training step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement")
    parser.add_argument(
        "--gpu",
        nargs=4,
        metavar=("TASK", "MODEL", "SIDE", "BATCH"),
        help="such as: decode kl_f8 1024 1",
    )
    with one_line_errors():
        arguments = parser.parse_args()
        tasks = [step_subjects(arguments.step_model, arguments.step_side, arguments.batch)]
        tasks += [
            coder_subjects(model, side) for model in arguments.models for side in arguments.sides
        ]
        if arguments.gpu is not None:
            task, model, side, batch = arguments.gpu
            tasks = [gpu_subjects(task, model, int(side), int(batch))]
        rows = []
        for subjects in tasks:
            found = compare(subjects, arguments.rounds, arguments.seconds, arguments.weights)
            rows += found
            print(format_table(found, COLUMNS), flush=True)
            write_json(arguments.out, {"rows": rows} | provenance())


if __name__ == "__main__":
    main()
