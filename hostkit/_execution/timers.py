"""Items that wait for their time, the next one first."""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")

MAX_STALE = 64


class TimerHeap(Generic[K, T]):
    """A heap whose items can be taken out; each is in it once, and of equal times the first that was added is first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._heap: list[tuple[K, int, T]] = []
        self._entries: dict[T, tuple[K, int, T]] = {}
        self._numbers = count()

    def __iter__(self) -> Iterator[T]:
        """Return the items that wait, in no order."""
        return iter(tuple(self._entries))

    def add(self, item: T, at: K) -> None:
        """Have *item* wait until *at*, and no longer until another time."""
        if item in self._entries:
            self.discard(item)
        self._entries[item] = entry = (at, next(self._numbers), item)
        heapq.heappush(self._heap, entry)

    def discard(self, item: T) -> None:
        """Take *item* out, if it is in."""
        self._entries.pop(item, None)
        # Searching the heap for it would make taking out all of them quadratic.
        if len(self._heap) > MAX_STALE + 2 * len(self._entries):
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def first(self) -> K | None:
        """Return the next time, None if nothing waits."""
        heap = self._heap
        while heap and self._entries.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def take_due(self, now: K) -> Iterator[T]:
        """Take out what is due; what is added meanwhile and due as well comes too."""
        while (at := self.first()) is not None and at <= now:  # type: ignore[operator]
            item = heapq.heappop(self._heap)[2]
            del self._entries[item]
            yield item
