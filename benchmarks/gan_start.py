"""Does the adversarial term's start wreck the reconstructions? Three trainings, step by step.

python benchmarks/gan_start.py --run runs/kl_f8_small --out benchmarks/results/gan_start.json \
    [--seeds 3] [--precisions fp32 bf16] [key=value ...]

Without --run, a new model of --config is trained for --settle-steps first, two thirds of them at
its whole learning rate. Overrides go on top of the run's config.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ldm_ae import config
from ldm_ae.bench.command import make_parser, one_line_errors
from ldm_ae.bench.gan_start import STARTS, make_experiment, play, save_curves, summary, with_start
from ldm_ae.bench.report import format_table, provenance, write_json
from ldm_ae.train.checkpoint_folders import find_checkpoint

COLUMNS = {
    "start": "s",
    "precision": "s",
    "seed": "d",
    "psnr_before": ".2f",
    "psnr_lowest": ".2f",
    "psnr_end": ".2f",
    "distance_before": ".4f",
    "distance_worst": ".4f",
    "distance_end": ".4f",
    "distance_rise": ".1%",
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--run", type=Path, help="a training run's folder: its latest checkpoint")
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--out", type=Path, required=True, help="a .json; the curves go beside it")
    parser.add_argument("--settle-steps", type=int, help="before the discriminator (20; 240)")
    parser.add_argument("--warmup-steps", type=int, default=50, help="the discriminator's, alone")
    parser.add_argument("--ramp-steps", type=int, default=100)
    parser.add_argument("--after-steps", type=int, default=50, help="at full weight")
    parser.add_argument("--every", type=int, default=10, help="steps between measurements")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["bf16"], choices=["fp32", "bf16"])
    parser.add_argument("overrides", nargs="*", metavar="key.subkey=value")
    arguments = parser.parse_args()
    if arguments.settle_steps is None:
        arguments.settle_steps = 20 if arguments.run else 240
    with one_line_errors():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    source = arguments.run / "config.yaml" if arguments.run else arguments.config
    names = ("settle_steps", "warmup_steps", "ramp_steps", "after_steps")
    lengths = {name: getattr(arguments, name) for name in names}
    experiment = make_experiment(source, arguments.overrides, **lengths)
    checkpoint = find_checkpoint(arguments.run, "latest") if arguments.run else None
    early = 0 if checkpoint else arguments.settle_steps * 2 // 3
    rows, curves = [], []
    for precision in arguments.precisions:
        for seed in range(arguments.seeds):
            train = replace(experiment.train, seed=seed, precision=precision, kernels="plain")
            for name in STARTS:
                started = with_start(replace(experiment, train=train), name)
                intervals = {"early_steps": early, "every": arguments.every}
                curve = play(started, arguments.out.parent, checkpoint, **intervals)
                row = {"start": name, "precision": precision, "seed": seed}
                rows.append(row | summary(curve, experiment))
                curves.append(row | {"curve": curve})
                print(f"{name}, {precision}, seed {seed}: done", flush=True)
    print(format_table(rows, COLUMNS))
    game = experiment.loss.adversarial
    protocol = {
        "from": str(arguments.run or f"{arguments.config}, new weights"),
        "model": "the weights themselves, mode of the latents, rounded to uint8",
        "images": f"{experiment.data.validation_count} validation crops of {experiment.data.size}",
        "discriminator_enters_at": game.start_step,
        "generator_sees_it_from": game.start_step + game.discriminator_warmup_steps,
        "full_weight_from": game.start_step + game.discriminator_warmup_steps + game.ramp_steps,
        "config": config.plain(experiment),
    }
    write_json(arguments.out, {"protocol": protocol, "rows": rows, "curves": curves} | provenance())
    save_curves(arguments.out.with_suffix(".png"), curves, protocol)


if __name__ == "__main__":
    main()
