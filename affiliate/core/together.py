"""What several threads ask for at the same time, done for all of them at once.

For work whose cost is mostly its own frame: a round trip, a statement that PostgreSQL sets up, a
commit that is flushed. A thread of its own does it. Whoever comes alone is served at once; who
comes while something runs is served with all others that wait by then. After a run for several
the next one lingers a moment for those who come again. It is what a database does with its log
("group commit", PostgreSQL's commit_delay and commit_siblings), one floor higher.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import structlog

Item = TypeVar("Item")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Failed(Exception):
    """A run was lost for all that it served; its cause is what the run raised."""


Tell = Callable[[Result | None, BaseException | None], None]
"""Who is told the outcome of an item: a result, or else why there is none."""
IDLE_S: Final = 5.0
"""How long the thread stays without anything to do."""


class Together(Generic[Item, Result]):
    """One run at a time; safe from any thread.

    `run` is given the items and answers a result for each, in their order. `most` is how many one
    run may take. `apart` names what an item must not share with another of its run. `linger_s` is
    how long a run waits at most, after one for several, for as many more as were served then.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int,
        apart: Callable[[Item], Iterable[Hashable]] = lambda _: (),
        linger_s: float = 0.0,
    ) -> None:
        self._run = run
        self._most = most
        self._apart = apart
        self._linger_s = linger_s
        self._come = threading.Condition()
        self._enough = 1
        """How many have to wait for the next run to begin."""
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._runner: threading.Thread | None = None

    def submit(self, item: Item, tell: Tell[Result]) -> None:
        """Have it done; `tell` is called by the thread that does it, which must not wait long."""
        mine: _Waiting[Item, Result] = _Waiting(item, frozenset(self._apart(item)), tell)
        with self._come:
            if self._runner is None or not self._runner.is_alive():  # None survives a fork.
                runner = threading.Thread(target=self._serve, name="together", daemon=True)
                runner.start()
                self._runner = runner
            self._waiting.append(mine)
            if len(self._waiting) >= self._enough:
                self._come.notify()

    def do(self, item: Item) -> Result:
        """The item's result. Raises Failed, for all that were served together."""
        told = _Told[Result]()
        self.submit(item, told)
        return told.result()

    @property
    def waiting(self) -> int:
        """How many wait to be served."""
        return len(self._waiting)

    def _serve(self) -> None:
        served = 0
        while served := self._serve_next(served):
            pass

    def _serve_next(self, before: int) -> int:
        """One run, after one for so many; for how many it was."""
        served = self._next(before)
        results: Sequence[Result | None] = [None] * len(served)
        error: BaseException | None = None
        try:
            if served:
                results = self._run([each.item for each in served])
            if len(results) != len(served):
                raise ValueError("a result for each item was expected")
        except BaseException as raised:  # noqa: BLE001 -- each of those who wait is told
            results, error = [None] * len(served), raised
        for each, result in zip(served, results, strict=True):
            try:
                each.tell(result, error)
            except BaseException:
                log.exception("together.untold")
        return len(served)

    def _next(self, served: int) -> list[_Waiting[Item, Result]]:
        """Who is served next, after a run for so many; none: nobody has come for long."""
        with self._come:
            if served > 1 and self._linger_s:
                self._enough = min(self._most, len(self._waiting) + served)
                self._come.wait_for(self._are_enough, self._linger_s)
            self._enough = 1
            if not self._come.wait_for(self._are_enough, IDLE_S):
                self._runner = None
            return self._take()

    def _are_enough(self) -> bool:
        return len(self._waiting) >= self._enough

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
    """Who waits to be served."""

    __slots__ = ("item", "names", "tell")

    def __init__(self, item: Item, names: frozenset[Hashable], tell: Tell[Result]) -> None:
        self.item = item
        self.names = names
        """What it must not share with another of its run."""
        self.tell = tell


class _Told(Generic[Result]):
    """An outcome that its own thread waits for."""

    __slots__ = ("_error", "_lock", "_result")

    _result: Result

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self, result: Result | None, error: BaseException | None) -> None:
        self._result, self._error = result, error  # type: ignore[assignment]
        self._lock.release()

    def result(self) -> Result:
        self._lock.acquire()
        if self._error is not None:
            raise Failed from self._error
        return self._result
