from __future__ import annotations

import numpy as np

from ldm_ae.data.randomness import (
    ORDER,
    VIEW,
    epoch_order,
    generator,
    held_out_by_index,
    held_out_by_name,
)


def test_draws_depend_on_seed_purpose_and_place_alone() -> None:
    first = generator(1, VIEW, 5).random()
    generator(1, VIEW, 4).random(100)
    assert generator(1, VIEW, 5).random() == first
    others = [generator(2, VIEW, 5), generator(1, ORDER, 5), generator(1, VIEW, 6)]
    assert all(other.random() != first for other in others)


def test_every_epoch_is_a_new_permutation() -> None:
    orders = [epoch_order(0, epoch, 50) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(epoch_order(0, 1, 50), orders[1])


def test_held_out_names_stay_when_files_are_added() -> None:
    names = [f"{i}.png".encode() for i in range(100)]
    before = {names[i] for i in held_out_by_name(names, 10)}
    grown = sorted([*names, *(b"new%d.png" % i for i in range(10))])
    after = {grown[i] for i in held_out_by_name(grown, 10)}
    assert len(before) == len(after) == 10
    assert not (after - before) & set(names)  # only new files can push one out


def test_held_out_indices_are_distinct_sorted_and_fixed() -> None:
    chosen = held_out_by_index(1000, 20)
    assert len(set(chosen.tolist())) == 20
    assert np.array_equal(chosen, np.sort(chosen))
    assert np.array_equal(chosen, held_out_by_index(1000, 20))
    assert held_out_by_index(10, 0).size == 0
