"""A script for bash or zsh that completes the verbs, their options and file names."""

from __future__ import annotations

import argparse
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from ldm_ae.installed import MissingExtraError

SHELLS = ("bash", "zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = 'Example: eval "$(ldm-ae completion bash)"'
    parser.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise MissingExtraError('shtab not installed: pip install "ldm-ae[completion]"') from error
    print(shtab.complete(whole_parser(shtab.FILE), shell=arguments.shell))


def whole_parser(file_names: object) -> argparse.ArgumentParser:
    """All verbs in one parser, which the command itself does without: it imports only the one.

    file_names: what tells shtab to complete them, for every argument that is free text.
    """
    from ldm_ae.cli.main import VERBS  # it knows this module by name

    parser = argparse.ArgumentParser(prog="ldm-ae")
    parser.add_argument("--version", action="store_true")
    verbs = parser.add_subparsers()
    for verb, what in VERBS.items():
        with suppress(ImportError, MissingExtraError):  # of what is not installed
            module = import_module(f"ldm_ae.cli.{verb.replace('-', '_')}")
            of_verb = verbs.add_parser(verb, help=what)
            module.add_arguments(of_verb)
            for action in of_verb._actions:
                if action.nargs != 0 and not action.choices and action.type in (None, str, Path):
                    action.complete = file_names  # type: ignore[attr-defined]
    return parser
