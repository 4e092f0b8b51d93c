"""A heap of items that wait for their time, and can be taken out."""

from hostkit._execution.timers import MAX_STALE, TimerHeap


def test_gives_what_is_due_in_order() -> None:
    """What is due comes by its time, of equal times what was added first."""
    heap = TimerHeap[float, str]()
    for item, at in (("c", 3), ("a", 1), ("b", 1), ("d", 4)):
        heap.add(item, at)

    assert heap.first() == 1
    assert sorted(heap) == ["a", "b", "c", "d"]
    assert list(heap.take_due(3)) == ["a", "b", "c"]
    assert list(heap) == ["d"]
    assert list(heap.take_due(3.5)) == []


def test_an_item_waits_for_one_time() -> None:
    """An item that is added again waits for the new time alone."""
    heap = TimerHeap[float, str]()
    heap.add("a", 1)
    heap.add("a", 5)

    assert list(heap.take_due(4)) == []
    assert list(heap.take_due(5)) == ["a"]
    assert heap.first() is None


def test_what_is_taken_out_never_comes() -> None:
    """An item can be taken out, also once more."""
    heap = TimerHeap[float, str]()
    heap.add("a", 1)
    heap.add("b", 2)

    heap.discard("a")
    heap.discard("a")

    assert list(heap.take_due(9)) == ["b"]


def test_stale_entries_do_not_pile_up() -> None:
    """Thousands of items that were taken out, or moved, leave little behind."""
    heap = TimerHeap[float, int]()
    for number in range(2000):
        heap.add(number, number)
        heap.add(number, number + 1)
        if number >= 10:
            heap.discard(number)

    assert list(heap) == list(range(10))
    assert len(heap._heap) <= MAX_STALE + 2 * 10 + 2


def test_what_is_added_meanwhile_comes_too() -> None:
    """An item that is added while others are taken out is taken out as well if it is due."""
    heap = TimerHeap[float, str]()
    heap.add("a", 1)
    taken = []
    for item in heap.take_due(2):
        taken.append(item)
        if item == "a":
            heap.add("b", 2)
            heap.add("c", 3)

    assert taken == ["a", "b"]
