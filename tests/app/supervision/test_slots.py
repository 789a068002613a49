"""Slots: a job gets all its devices or none, and what is given back can be taken again."""

from app.supervision.slots import Slots


def test_a_cpu_has_as_many_slots_as_it_was_told_whatever_the_ranks():
    slots = Slots(("cpu",), 2)
    assert (slots.take(1), slots.take(4), slots.take(1)) == (("cpu",), ("cpu",) * 4, None)
    slots.give_back(("cpu",) * 4)
    assert slots.take(1) == ("cpu",)
    assert slots.most() is None


def test_gpus_go_to_one_job_each_and_come_back_in_order():
    slots = Slots(("cuda:0", "cuda:1", "cuda:2"), 7)
    assert slots.take(2) == ("cuda:0", "cuda:1")
    assert slots.take(2) is None
    assert slots.take(1) == ("cuda:2",)
    slots.give_back(("cuda:0", "cuda:1"))
    assert slots.take(2) == ("cuda:0", "cuda:1")
    assert slots.most() == 3


def test_a_job_that_uses_no_gpu_takes_none_and_waits_for_none():
    slots = Slots(("cuda:0",), 1)
    assert slots.take(1) == ("cuda:0",)
    assert (slots.take(1, uses_gpu=False), slots.take(1, uses_gpu=False)) == (("cpu",), None)
    slots.give_back(("cpu",))
    assert (slots.take(1), slots.take(1, uses_gpu=False)) == (None, ("cpu",))


def test_what_an_adopted_job_has_is_not_given_again():
    slots = Slots(("cuda:0", "cuda:1"), 1)
    slots.hold(("cuda:1", "cuda:9"))
    assert (slots.take(2), slots.take(1)) == (None, ("cuda:0",))
    slots.give_back(("cuda:1", "cuda:9"))
    assert slots.take(1) == ("cuda:1",)
    slots = Slots(("cpu",), 1)
    slots.hold(("cpu",))
    slots.hold(("cpu",))
    slots.give_back(("cpu",))
    assert slots.take(1) is None
    slots.give_back(("cpu",))
    assert slots.take(1) == ("cpu",)
