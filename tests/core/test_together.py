"""Work that several threads ask for at once is done in one run for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from affiliate.core import together as together_module
from affiliate.core.together import Failed, Together

WAIT_S = 10


@dataclass
class Runs:
    """A run that doubles its numbers; the first one lasts until it is let go."""

    made: list[list[int]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    fails: Callable[[Sequence[int]], BaseException | None] = lambda _: None

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.made.append(list(items))
        if len(self.made) == 1:
            self.begun.set()
            assert self.go_on.wait(WAIT_S)
        error = self.fails(items)
        if error is not None:
            raise error
        return [2 * item for item in items]


@contextmanager
def waiting_behind(
    together: Together[int, int], runs: Runs, items: Iterable[int]
) -> Iterator[list[Future[int]]]:
    """The first of the items runs while the others come, one after another, and wait."""
    first, *others = items
    with ThreadPoolExecutor(len(others) + 1) as threads:
        futures = [threads.submit(together.do, first)]
        assert runs.begun.wait(WAIT_S)
        for number, item in enumerate(others, 1):
            futures.append(threads.submit(together.do, item))
            until(lambda number=number: len(together._waiting) == number)  # type: ignore[misc]
        runs.go_on.set()
        yield futures


def until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 1000):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError("it never held")


def results(futures: Sequence[Future[int]]) -> list[Any]:
    return [future.exception(WAIT_S) or future.result() for future in futures]


def test_who_comes_alone_is_served_at_once_and_alone() -> None:
    runs = Runs()
    runs.go_on.set()
    together = Together(runs, most=8)
    assert [together.do(item) for item in (1, 2, 3)] == [2, 4, 6]
    assert runs.made == [[1], [2], [3]]


def test_who_comes_meanwhile_is_served_together_in_one_order() -> None:
    runs = Runs()
    with waiting_behind(Together(runs, most=8), runs, range(6)) as futures:
        assert results(futures) == [0, 2, 4, 6, 8, 10]
    assert runs.made == [[0], [1, 2, 3, 4, 5]]


def test_a_run_takes_no_more_than_it_may() -> None:
    runs = Runs()
    with waiting_behind(Together(runs, most=2), runs, range(6)) as futures:
        assert results(futures) == [0, 2, 4, 6, 8, 10]
    assert runs.made == [[0], [1, 2], [3, 4], [5]]


def test_what_must_be_apart_is_and_nobody_is_forgotten() -> None:
    runs = Runs()
    together = Together(runs, most=8, apart=lambda item: (item % 10,))
    with waiting_behind(together, runs, [0, 1, 11, 2, 21, 12, 3]) as futures:
        assert results(futures) == [0, 2, 22, 4, 42, 24, 6]
    assert runs.made == [[0], [1, 2, 3], [11, 12], [21]]


def test_an_item_without_a_name_is_refused_and_holds_up_nobody() -> None:
    runs = Runs()
    together = Together(runs, most=8, apart=lambda item: (10 // item,))
    with waiting_behind(together, runs, [1, 2, 3]) as futures:
        with pytest.raises(ZeroDivisionError):
            together.do(0)
        assert results(futures) == [2, 4, 6]


def test_what_is_lost_is_lost_for_those_of_the_run_alone() -> None:
    runs = Runs(fails=lambda items: ValueError("no threes") if 3 in items else None)
    with waiting_behind(Together(runs, most=2), runs, range(6)) as futures:
        first, one, two, three, four, five = results(futures)
    assert (first, one, two, five) == (0, 2, 4, 10)
    for error in (three, four):
        assert isinstance(error, Failed)
        assert isinstance(error.__cause__, ValueError)
    assert runs.made == [[0], [1, 2], [3, 4], [5]]


def test_a_run_that_answers_too_little_is_lost() -> None:
    together: Together[int, int] = Together(lambda items: [], most=2)
    with pytest.raises(Failed):
        together.do(1)


def test_an_exit_is_told_like_any_error_and_the_next_ones_go_on() -> None:
    runs = Runs(fails=lambda items: SystemExit() if 1 in items else None)
    together = Together(runs, most=2)
    with waiting_behind(together, runs, range(4)) as futures:
        first, one, two, three = results(futures)
    assert (first, three) == (0, 6)
    assert isinstance(one, Failed)
    assert isinstance(two, Failed)
    assert together.do(4) == 8


def test_who_is_told_by_the_thread_that_serves_holds_up_nobody_by_a_mistake() -> None:
    told: list[tuple[int | None, BaseException | None]] = []
    together: Together[int, int] = Together(lambda items: [-item for item in items], most=2)

    def mistaken(result: int | None, error: BaseException | None) -> None:
        told.append((result, error))
        raise ValueError("in who is told")

    together.submit(1, mistaken)
    assert together.do(2) == -2
    assert told == [(-1, None)]


def test_a_run_lingers_for_as_many_as_were_served_before() -> None:
    runs = Runs()
    together = Together(runs, most=8, linger_s=WAIT_S * 10)
    with waiting_behind(together, runs, range(4)) as futures:
        assert results(futures) == [0, 2, 4, 6]
        with ThreadPoolExecutor(3) as threads:
            early = [threads.submit(together.do, item) for item in (4, 5)]
            until(lambda: len(together._waiting) == 2)
            assert not any(each.done() for each in early)
            assert threads.submit(together.do, 6).result(WAIT_S) == 12
            assert results(early) == [8, 10]
    assert [sorted(run) for run in runs.made] == [[0], [1, 2, 3], [4, 5, 6]]


def test_a_run_lingers_no_longer_than_it_may_and_never_after_one_alone() -> None:
    runs = Runs()
    together = Together(runs, most=8, linger_s=0.01)
    with waiting_behind(together, runs, range(3)) as futures:
        assert results(futures) == [0, 2, 4]
    assert together.do(3) == 6
    together._linger_s = WAIT_S * 100  # Whoever waited for it would not end in time.
    assert [together.do(item) for item in (4, 5)] == [8, 10]
    assert runs.made == [[0], [1, 2], [3], [4], [5]]


def test_its_thread_goes_where_nobody_comes_and_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together_module, "IDLE_S", 0.01)
    together: Together[int, int] = Together(lambda items: items, most=2)
    for item in range(3):
        assert together.do(item) == item
        thread = together._runner
        if thread is not None:
            thread.join(WAIT_S)
        assert together._runner is None


def test_nobody_is_lost_or_served_twice_among_many() -> None:
    served: list[int] = []
    lock = threading.Lock()

    def run(items: Sequence[int]) -> Sequence[int]:
        with lock:
            served.extend(items)
        return [-item for item in items]

    together = Together(run, most=5, apart=lambda item: (item % 7,))
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(together.do, range(4_000))) == [-n for n in range(4_000)]
    assert sorted(served) == list(range(4_000))
