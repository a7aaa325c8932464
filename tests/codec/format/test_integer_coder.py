"""The range coder for machines without constriction: the same bytes, the same verdicts."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import ldm_ae
from ldm_ae.codec.format import integer_coder

GOLDEN = Path(__file__).parents[1] / "golden"

stream = pytest.importorskip("constriction").stream
OURS, THEIRS = integer_coder, stream.model
QUEUES = ((OURS, OURS), (THEIRS, stream.queue))

Call = tuple[str, object, np.ndarray]  # kind of model, what it is made of, entries


def random_calls(rng: np.random.Generator) -> list[Call]:
    """Up to three of each kind of distribution; the last entries, which push carries along, are
    drawn often."""
    calls: list[Call] = []
    for kind in rng.choice(["one", "each", "equal"], rng.integers(0, 4)):
        size, number = int(rng.integers(2, 40)), int(rng.integers(0, 60))
        if kind == "equal":
            size = 1 << int(rng.integers(1, 16))
        weights = rng.integers(0, 2000, (number, size) if kind == "each" else size).astype(float)
        weights[..., 0] += 1
        entries = rng.integers(0, size, number) if rng.random() < 0.5 else np.full(number, size - 1)
        calls.append((str(kind), size if kind == "equal" else weights, entries.astype(np.int32)))
    return calls


def encode(calls: list[Call], models, queues) -> np.ndarray:
    coder = queues.RangeEncoder()
    for kind, made_of, entries in calls:
        if kind == "each":
            coder.encode(entries, models.Categorical(perfect=False), made_of)
        elif kind == "one":
            coder.encode(entries, models.Categorical(made_of, perfect=False))
        else:
            coder.encode(entries, models.Uniform(made_of))
    return coder.get_compressed()


def decode(words: np.ndarray, calls: list[Call], models, queues) -> list[object]:
    """The entries of each call, or `corrupt`, and whether the words may end before and after."""
    coder = queues.RangeDecoder(words)
    found: list[object] = [coder.maybe_exhausted()]
    try:
        for kind, made_of, entries in calls:
            if kind == "each":
                found.append(coder.decode(models.Categorical(perfect=False), made_of).tolist())
            elif kind == "one":
                model = models.Categorical(made_of, perfect=False)
                found.append(coder.decode(model, len(entries)).tolist())
            else:
                found.append(coder.decode(models.Uniform(made_of), len(entries)).tolist())
    except (AssertionError, ValueError):
        return [*found, "corrupt"]
    return [*found, coder.maybe_exhausted()]


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_constriction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        calls = random_calls(rng)
        words, theirs = (encode(calls, *both) for both in QUEUES)
        assert words.tolist() == theirs.tolist()
        assert decode(words, calls, OURS, OURS)[1:-1] == [e.tolist() for _, _, e in calls]
        damaged = words.copy()
        if len(damaged):
            damaged[rng.integers(len(damaged))] = rng.integers(2**32)
        longer = np.append(words, np.uint32(rng.integers(2**32)))
        for content in (words, damaged, words[: len(words) // 2], longer):
            mine, other = (decode(content, calls, *both) for both in QUEUES)
            assert mine == other


def test_a_machine_without_constriction_reads_golden_files() -> None:
    files = [GOLDEN / name for name in ("kl_v1/strip_q40.lae", "vq_context_v1/strip.lae")]
    code = (
        "import sys; sys.modules['constriction'] = None\n"
        "import ldm_ae, zlib; from pathlib import Path\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    codec = ldm_ae.load_codec(path.parent)\n"
        "    image = codec.decompress(path.read_bytes())\n"
        "    print(zlib.crc32(image), zlib.crc32(codec.compress(image)))"
    )
    command = [sys.executable, "-c", code, *map(str, files)]
    finished = subprocess.run(command, cwd=GOLDEN.parents[2], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    wanted = ""
    for path in files:
        codec = ldm_ae.load_codec(path.parent)
        image = codec.decompress(path.read_bytes())
        wanted += f"{zlib.crc32(image)} {zlib.crc32(codec.compress(image))}\n"
    assert finished.stdout == wanted
