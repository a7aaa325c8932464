import platform
import subprocess
import sys

import pytest

from ldm_ae.models import kept_memory

FAULTS = """
import resource, torch
from ldm_ae.models.kept_memory import keep_freed_memory
if {keep} is not None:
    assert keep_freed_memory(*{keep})
def step(num):
    blocks = [torch.ones(1 << 20) for _ in range(num)]  # 4 MiB each
step(32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step(30)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: tuple[int, ...] | None) -> int:
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("keep", [(), (64 << 20, 256 << 20, 128 << 10)], ids=["all", "some"])
def test_memory_is_fetched_once(keep: tuple[int, ...]) -> None:
    assert page_faults(keep) < page_faults(None) / 4


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda name: object())
    assert not kept_memory.keep_freed_memory()
