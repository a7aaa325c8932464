import io
import os
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldm_ae.errors import UserError
from ldm_ae.weights_file import read_checkpoint, read_pickled, read_weights, require_finite


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "a.pth"])
def test_named_tensors_come_back(name: str, tmp_path: Path) -> None:
    state = {"w": torch.randn(3, 4), "n": torch.tensor(3)}
    path = tmp_path / name
    save_file(state, path) if name.endswith("tensors") else torch.save(OrderedDict(state), path)
    found = read_weights(path)
    assert all(torch.equal(value, found[key]) for key, value in state.items())


def test_the_format_before_torch_1_6(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path)["w"], torch.ones(3))
    with pytest.raises(UserError, match="cannot be read as tensors"):
        read_pickled(path)


@pytest.mark.parametrize(
    "content",
    [[torch.ones(2)], torch.ones(2), {"w": [1]}, {"w": "text"}, {1: torch.ones(2)}, None, 7],
    ids=str,
)
def test_anything_else_than_named_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.bin")
    for read in (read_weights, read_pickled):
        with pytest.raises(UserError, match=r"a\.bin holds something else than named tensors"):
            read(tmp_path / "a.bin")


@pytest.mark.parametrize("shape", [(1 << 28,), (1 << 14, 1 << 14)], ids=["a vector", "a matrix"])
def test_a_small_file_does_not_ask_for_a_gigabyte(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    torch.save({"w": torch.zeros(1).expand(shape)}, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"asks for tensors of 1073741824: they overlap"):
        read_pickled(path)


class _Asks:
    def __init__(self, what: type, *arguments: object) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple:
        return (self.what, self.arguments)


@pytest.mark.parametrize("asked", [_Asks(bytearray, 1 << 33), _Asks(torch.FloatTensor, 1 << 31)])
def test_a_pickle_builds_nothing_but_tensors(asked: _Asks, tmp_path: Path) -> None:
    """torch's own list for weights_only allows both, which take eight gigabytes."""
    torch.save({"w": asked}, tmp_path / "a.bin")
    with pytest.raises(UserError, match="cannot be read as tensors: it asks for"):
        read_pickled(tmp_path / "a.bin")


def test_packed_entries_are_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"w": torch.zeros(1 << 20)}, whole)
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(tmp_path / "a.bin", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(UserError, match="packed or overlapping entries"):
        read_pickled(tmp_path / "a.bin")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_tensor_that_is_not_finite_is_named(value: float, tmp_path: Path) -> None:
    bad = torch.ones(3)
    bad[1] = value
    save_file({"good": torch.ones(3), "conv.bias": bad}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors: conv\.bias holds numbers that are not"):
        read_weights(tmp_path / "a.safetensors")
    nested = {"optimizer": {"state": {3: {"exp_avg": bad}}}, "list": [1, torch.ones(1)]}
    with pytest.raises(UserError, match=r"here: optimizer\.state\.3\.exp_avg holds"):
        require_finite(nested, "here")


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A trainer's module, which is gone when the checkpoint is read."""

    class Callback:
        def __init__(self) -> None:
            self.best = 3

    class AttributeDict(dict):
        pass

    class ListConfig(list):
        pass

    module = types.ModuleType("a_trainer")
    for kind in (Callback, AttributeDict, ListConfig):
        kind.__module__, kind.__qualname__ = "a_trainer", kind.__name__
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "a_trainer", module)
    return module


def lightning(foreign: types.ModuleType) -> dict[str, object]:
    listed, settings = foreign.ListConfig([1, 2]), foreign.AttributeDict(lr=1)
    listed.flags, settings.owner = {"readonly": True}, "me"
    return {
        "state_dict": {"w": torch.ones(3)},
        "callbacks": {foreign.Callback: {"best": 1}},
        "callback": foreign.Callback(),
        "hyper_parameters": settings,
        "list": listed,
        "metadata": defaultdict(list, {1: [2]}),
        "numpy": [np.float64(3.0), np.arange(3)],
        "place": Path("runs"),
        "dtype": torch.float16,
        "names": {"a", "b"},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
    }


def test_a_checkpoint_of_classes_that_are_not_here(
    foreign: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(lightning(foreign), tmp_path / "a.ckpt")
    monkeypatch.delitem(sys.modules, "a_trainer")
    assert torch.equal(read_checkpoint(tmp_path / "a.ckpt")["w"], torch.ones(3))
    with pytest.raises(UserError, match="it asks for a_trainer"):
        read_pickled(tmp_path / "a.ckpt")


def test_nothing_of_a_stranger_runs(
    foreign: types.ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a function of Python's, nor what a class that is here does when it is built."""
    ran = []
    foreign.Callback.__setstate__ = lambda self, state: ran.append(state)
    foreign.AttributeDict.__setitem__ = lambda *arguments: ran.append(arguments)
    content = lightning(foreign)
    for call in (_Asks(print, "code ran"), _Asks(eval, "1 + 1"), _Asks(exec, "x = 1")):
        torch.save({**content, "asks": call}, tmp_path / "a.ckpt")
        assert read_checkpoint(tmp_path / "a.ckpt").keys() == {"w"}
    assert ran == []
    for call in (_Asks(os.system, "echo code ran"), _Asks(bytearray, 1 << 33)):
        torch.save({**content, "asks": call}, tmp_path / "a.ckpt")
        with pytest.raises(UserError, match=r"it asks for (posix\.system|builtins\.bytearray)"):
            read_checkpoint(tmp_path / "a.ckpt")
    assert "code ran" not in capfd.readouterr().out


def test_a_stranger_in_the_place_of_a_weight(foreign: types.ModuleType, tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": foreign.Callback()}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="holds something else than named tensors"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_checkpoint_of_tensors_alone(tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save({"w": torch.ones(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        assert torch.equal(read_checkpoint(tmp_path / "a.pt")["w"], torch.ones(3))
    (tmp_path / "a.pt").write_bytes(b"no pickle")
    with pytest.raises(UserError, match="cannot be read as tensors"):
        read_checkpoint(tmp_path / "a.pt")
