"""A script for bash or zsh that completes the verbs, their options and file names."""

from __future__ import annotations

import argparse
from contextlib import suppress
from importlib import import_module

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
    print(shtab.complete(whole_parser(), shell=arguments.shell))


def whole_parser() -> argparse.ArgumentParser:
    """All verbs in one parser, which the command itself does without: it imports only the one."""
    from ldm_ae.cli.main import VERBS  # it knows this module by name

    parser = argparse.ArgumentParser(prog="ldm-ae")
    parser.add_argument("--version", action="store_true")
    verbs = parser.add_subparsers()
    for verb, what in VERBS.items():
        with suppress(ImportError, MissingExtraError):  # of what is not installed
            module = import_module(f"ldm_ae.cli.{verb.replace('-', '_')}")
            module.add_arguments(verbs.add_parser(verb, help=what))
    return parser
