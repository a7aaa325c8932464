"""The verbs' common frame: which exist, and what exit codes say."""

import errno
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ldm_ae.cli.main import VERBS, main
from ldm_ae.errors import UserError
from ldm_ae.files import replacing
from ldm_ae.installed import MissingExtraError, version


def ending(*arguments: str) -> int:
    """The exit code, whether returned or raised by argparse."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Gives the verb `info` another body."""

    def put(run) -> None:
        module = ModuleType("ldm_ae.cli.info", "A stand-in.")
        module.add_arguments = lambda parser: parser.add_argument("words", nargs="*")
        module.run = run
        monkeypatch.setitem(sys.modules, "ldm_ae.cli.info", module)

    return put


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(verb, "--help") == 0
    assert f"usage: ldm-ae {verb} " in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)
    assert ending("--version") == 0
    assert capsys.readouterr().out == f"ldm-ae {version()}\n"


def test_an_unknown_verb_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ending("trian") == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("one\ntwo"), 2),
        (FileNotFoundError(errno.ENOENT, "none", "a.png"), 2),
        (OSError(errno.ENOSPC, "no space"), 2),
        (MissingExtraError("absent"), 2),
        (FloatingPointError("nan"), 1),
    ],
)
def test_what_goes_wrong_is_one_message(
    error: Exception, code: int, verb, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise error

    verb(fail)
    assert ending("info") == code
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize("kind", [AssertionError, ValueError, OSError])
def test_a_fault_of_ours_keeps_its_traceback(kind: type[Exception], verb) -> None:
    def fail(arguments: object) -> None:
        raise kind("ours")

    verb(fail)
    with pytest.raises(kind, match="ours"):
        main(["info"])


def test_options_may_stand_between_overrides(tmp_path: Path, capsys) -> None:
    line = ["train", "data.path=x", "--config", "kl_f8_small", "train.sped=1", "loss.x=2"]
    assert ending(*line) == 2
    shown = capsys.readouterr().err
    assert "train.sped: unknown key" in shown and "loss.x: unknown key" in shown


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_a_signal_ends_it_without_traceback_or_remains(
    number: int, name: str, verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(arguments: object) -> None:
        with replacing(tmp_path / "picture.png") as aside:
            aside.write_text("half")
            os.kill(os.getpid(), number)
            raise AssertionError("it went on")

    verb(write)
    before = signal.getsignal(number)
    assert ending("info") == 128 + number
    assert capsys.readouterr().err == f"stopped by {name}; nothing is left half-written\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is before


def test_names_in_messages_are_escaped(verb, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: object) -> None:
        raise UserError("a\x1b[2J.png\nb")

    verb(fail)
    assert ending("info") == 2
    assert capsys.readouterr().err == "error: a\\x1b[2J.png\nb\n"
