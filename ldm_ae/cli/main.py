"""Choose the verb, parse, run, and turn what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from ldm_ae.cli.terminating import Terminated, terminating
from ldm_ae.errors import UserError
from ldm_ae.files import is_disk_full, is_out_of_memory, printable
from ldm_ae.installed import MissingExtraError, version
from ldm_ae.models.kept_memory import keep_freed_memory

# Each is a module here with `add_arguments(parser)` and `run(arguments)`, imported when asked for.
VERBS = {
    "train": "train an autoencoder from a config",
    "export": "a training run to a folder that diffusers and ldm_ae.load open",
    "convert": "between LDM's checkpoints, single files and diffusers folders",
    "evaluate": "score what a model makes of images",
    "inspect": "a page of numbers and pictures of a model's latent space",
    "encode-dataset": "a data set's latents as shards, for diffusion models",
    "train-diffusion": "a small denoiser on such shards, and a pipeline that samples",
    "compress": "pictures to .lae files",
    "decompress": ".lae files to pictures",
    "calibrate": "give a model's folder its prior.safetensors",
    "push": "an exported model and its card to the Hugging Face hub",
    "completion": "a script that completes these verbs and their options in a shell",
    "fetch-weights": "the networks of LPIPS and DISTS into the user's cache",
    "info": "what an .lae file, a model or a training run says of itself",
}
MISTAKE, FAILURE = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ldm-ae VERB ...` and return its exit code: 2 with one message for a user's mistake, 1
    for a computation that failed, 75 for training that a signal stopped after saving, 130 and 143
    for Ctrl-C and SIGTERM anywhere else."""
    parser = argparse.ArgumentParser(
        prog="ldm-ae",
        description="Autoencoders for latent diffusion: train, export, measure, compress.",
        epilog="\n".join(f"  {verb:<16}{what}" for verb, what in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ldm-ae {version()}")
    parser.add_argument("verb", choices=VERBS, help="one of those below; VERB --help says more")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    chosen = parser.parse_args(arguments)
    try:
        with terminating():
            return _run(chosen.verb, chosen.rest)
    except KeyboardInterrupt:
        return _stopped("Ctrl-C", signal.SIGINT)
    except Terminated:
        return _stopped("SIGTERM", signal.SIGTERM)
    except FloatingPointError as error:
        return _say(error, FAILURE)
    except (MissingExtraError, UserError, MemoryError) as error:
        return _say(error, MISTAKE)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _say(MemoryError(f"there is not enough memory: {error}"), MISTAKE)
    except OSError as error:
        if error.filename is None and not is_disk_full(error):
            raise
        return _say(error, MISTAKE)


def _run(verb: str, arguments: Sequence[str]) -> int:
    # One picture after the other makes tensors of the same sizes: a quarter of the time of small
    # ones, for up to 6 % more memory with large ones.
    keep_freed_memory(largest=64 << 20, kept=256 << 20, ahead=128 << 10)
    module = import_module(f"ldm_ae.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"ldm-ae {verb}", description=module.__doc__)
    module.add_arguments(parser)
    code: int | None = module.run(parser.parse_intermixed_args(arguments))
    return code or 0


def _stopped(by: str, number: int) -> int:
    print(f"stopped by {by}; nothing is left half-written", file=sys.stderr)
    return 128 + number


def _say(error: Exception, code: int) -> int:
    text = "\n".join(map(printable, str(error).split("\n"))) or type(error).__name__
    print(f"error: {text}", file=sys.stderr)
    return code
