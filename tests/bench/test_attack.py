"""The attack itself, on tiny models, and that it would notice what it looks for."""

import socket
from pathlib import Path

import pytest

from ldm_ae.bench import attack_targets
from ldm_ae.bench.attack import SHARES, TARGETS, Watch, attack, kind_of
from ldm_ae.bench.mutations import Target
from ldm_ae.codec.format import container
from ldm_ae.errors import UserError

GOLDEN = Path(__file__).parents[1] / "codec" / "golden"
NUMBER = {".lae": 400, "YAML": 40, ".bin": 60, "safetensors": 60, "prior": 60, "config.json": 80}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """One for all: an audit hook stays for the life of the process."""
    return Watch(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("kind", TARGETS)
def test_only_clean_errors(kind: str, watch: Watch, tmp_path: Path) -> None:
    target = TARGETS[kind](GOLDEN / ("kl_v1" if kind == ".lae" else "vq_v1"), tmp_path)
    target.read(target.whole[0])
    outcome = attack(target, NUMBER.get(kind, 30), 7, watch)
    assert outcome.clean, outcome
    assert outcome.refused["of so many kinds"] >= 3
    if kind == ".lae":
        reached = " ".join(outcome.refused)
        for message in ("checksum", "cut short", "payload is"):
            assert message in reached
        assert outcome.read, "some reach the end: their checksums were made to suit"
    assert outcome.memory_mib < 300


def test_the_shares_make_a_whole() -> None:
    assert SHARES.keys() == TARGETS.keys() and sum(SHARES.values()) == pytest.approx(1)


def _target(read) -> Target:
    return Target([b"whole"], lambda whole, rng: whole[0], read)


def test_what_it_looks_for_is_noticed(watch: Watch) -> None:
    def opens(data: bytes) -> None:
        Path("/etc/hostname").read_bytes()

    def asks(data: bytes) -> None:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)

    def fails(data: bytes) -> None:
        raise KeyError("name")

    def refuses(data: bytes) -> None:
        raise UserError("no")

    assert attack(_target(refuses), 2, 0, watch).clean
    outcome = attack(_target(opens), 2, 0, watch)
    assert outcome.opened == [str(Path("/etc/hostname").resolve())] and not outcome.clean
    watch.opened.clear()
    outcome = attack(_target(asks), 1, 0, watch)
    assert outcome.connections and "PermissionError" in outcome.faults[0]
    watch.connections.clear()
    assert attack(_target(fails), 1, 0, watch).faults == ["0: KeyError: 'name'"]


def test_a_reader_without_checksum_is_noticed(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, read = attack_targets.lae(GOLDEN / "kl_v1", tmp_path), container.read
    whole = target.whole[0]
    monkeypatch.setattr(container, "read", lambda data: read(whole))
    outcome = attack(target, 50, 7, watch)
    assert any("a false checksum" in fault for fault in outcome.faults)


def test_kinds_of_messages_have_no_numbers_and_places() -> None:
    assert kind_of("/a/b has 3 bytes, x=4") == "# has # bytes, #"
