"""Hostile files come from a seed, leave what they are made of alone, and reach what lies behind the
first check of a parser."""

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save

from ldm_ae.bench.mutations import damaged, odd_json, odd_safetensors, odd_tree, odd_yaml

FILES = [bytes(range(256)) * 4, b"another file" * 60]
TREE = {"kind": "kl", "channels": [8, 16], "coder": {"groups": 4, "scale": 0.5}}
SAFETENSORS = save({"weight": torch.arange(6.0), "bias": torch.ones(2)})
MAKERS: dict[str, Callable[[np.random.Generator], object]] = {
    "damaged": lambda rng: damaged(FILES, rng),
    "odd_tree": lambda rng: odd_tree(TREE, rng),
    "odd_json": lambda rng: odd_json(TREE, rng),
    "odd_yaml": lambda rng: odd_yaml(TREE, rng),
    "odd_safetensors": lambda rng: odd_safetensors([SAFETENSORS], rng),
}


def many(make: Callable[[np.random.Generator], object], seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    return [make(rng) for _ in range(300)]


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_gives_the_same_files_and_changes_no_whole_one(name: str) -> None:
    files, tree = list(FILES), copy.deepcopy(TREE)
    first, second = (many(MAKERS[name]) for _ in range(2))
    assert repr(first) == repr(second) != repr(many(MAKERS[name], seed=1))
    assert (files, tree) == (FILES, TREE)


def test_files_are_cut_lengthened_and_hit_by_half_at_their_beginning() -> None:
    whole = [FILES[0]]
    found = many(lambda rng: damaged(whole, rng, header=16))
    assert {np.sign(len(data) - len(whole[0])) for data in found} == {-1, 0, 1}
    assert sum(data == whole[0] for data in found) < 10
    same_length = [data for data in found if len(data) == len(whole[0])]
    hit = [[n for n, byte in enumerate(data) if byte != whole[0][n]] for data in same_length]
    single = [places[0] for places in hit if len(places) == 1]
    assert len(single) > 20 and np.mean(np.array(single) < 16) > 0.5


def test_parts_of_a_tree_are_replaced_removed_and_added_at_every_depth() -> None:
    found = [tree for tree in many(MAKERS["odd_tree"]) if isinstance(tree, dict)]
    assert len(found) == 300
    assert any("kind" not in tree for tree in found)
    assert any("key" in key for tree in found for key in tree)
    inner = [tree["coder"] for tree in found if isinstance(tree.get("coder"), dict)]
    assert any("groups" not in coder for coder in inner)
    assert any(coder.get("groups") != 4 for coder in inner if "groups" in coder)
    assert max(map(depth, found)) > 20


def test_most_json_is_well_formed_and_some_is_not() -> None:
    texts = many(MAKERS["odd_json"])
    assert 150 < sum(map(is_json, texts)) < 290
    assert any(b"[" * 1000 in text for text in texts)


def test_half_of_the_yaml_has_a_piece_that_json_does_not_know() -> None:
    texts = many(MAKERS["odd_yaml"])
    assert 80 < sum(map(is_json, texts)) < 200
    assert any(b"!!python" in text for text in texts) and any(b"*a" in text for text in texts)


def test_an_odd_header_of_safetensors_is_of_the_length_it_says() -> None:
    """Else no reader would come as far as what it holds."""
    size = 8 + int.from_bytes(SAFETENSORS[:8], "little")
    tensors, fitting = SAFETENSORS[size:], 0
    for data in many(MAKERS["odd_safetensors"]):
        header = data[8 : -len(tensors)]
        fits = data.endswith(tensors) and int.from_bytes(data[:8], "little") == len(header)
        fitting += fits and header != SAFETENSORS[8:size] and is_json(header)
    assert fitting > 60


def is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def depth(tree: object) -> int:
    if isinstance(tree, (dict, list)):
        parts = tree.values() if isinstance(tree, dict) else tree
        return 1 + max(map(depth, parts), default=0)
    return 0
