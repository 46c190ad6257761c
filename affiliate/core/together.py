"""What several threads ask for at the same time, done for all of them at once.

For work whose cost is mostly its own frame: a round trip, a statement that PostgreSQL sets up, a
commit that is flushed. Whoever comes while nothing runs is served at once and waits for nobody;
who comes while something runs waits for its end and is then served with all others that wait.
It is what a database does with its log ("group commit"), one floor higher.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Failed(Exception):
    """A run was lost for all that it served; its cause is what the run raised."""


class Together(Generic[Item, Result]):
    """One run at a time; safe from any thread.

    `run` is given the items and answers a result for each, in their order. `most` is how many one
    run may take. `apart` names what an item must not share with another of its run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int,
        apart: Callable[[Item], Iterable[Hashable]] = lambda _: (),
    ) -> None:
        self._run = run
        self._most = most
        self._apart = apart
        self._lock = threading.Lock()
        self._runs = False
        self._waiting: deque[_Waiting[Item, Result]] = deque()

    def do(self, item: Item) -> Result:
        """The item's result. Raises Failed, for all that were served together."""
        mine: _Waiting[Item, Result] = _Waiting(item, frozenset(self._apart(item)))
        with self._lock:
            leads = not self._runs
            if leads:
                self._runs, mine.served = True, [mine]
            else:
                self._waiting.append(mine)
        if not leads:
            mine.told.acquire()
        if mine.served:
            self._serve(mine.served, mine)
        if mine.error is not None:
            raise Failed from mine.error
        return mine.result

    def _serve(self, served: Sequence[_Waiting[Item, Result]], leader: object) -> None:
        """Run for these, then let the next ones lead, then tell these."""
        error: BaseException | None = RuntimeError("the run was broken off")
        try:
            results = self._run([each.item for each in served])
            for each, result in zip(served, results, strict=True):
                each.result = result
            error = None
        except Exception as raised:  # noqa: BLE001 -- each of those who wait is told
            error = raised
        finally:
            self._pass_on()
            for each in served:
                each.error = error
                if each is not leader:
                    each.told.release()

    def _pass_on(self) -> None:
        with self._lock:
            if not self._waiting:
                self._runs = False
                return
            served = self._take()
        served[0].served = served
        served[0].told.release()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """The first of those who wait, and who may go with them; the others keep their order."""
        taken: list[_Waiting[Item, Result]] = []
        left: deque[_Waiting[Item, Result]] = deque()
        shared: set[Hashable] = set()
        while self._waiting and len(taken) < self._most:
            each = self._waiting.popleft()
            if each.names & shared:
                left.append(each)
            else:
                taken.append(each)
                shared |= each.names
        left.extend(self._waiting)
        self._waiting = left
        return taken


class _Waiting(Generic[Item, Result]):
    """Somebody who waits to be served, or to serve."""

    __slots__ = ("error", "item", "names", "result", "served", "told")

    result: Result

    def __init__(self, item: Item, names: frozenset[Hashable]) -> None:
        self.item = item
        self.names = names
        """What it must not share with another of its run."""
        self.served: Sequence[_Waiting[Item, Result]] = ()
        """Whom to serve; empty: another has served us."""
        self.error: BaseException | None = None
        self.told = threading.Lock()
        self.told.acquire()
