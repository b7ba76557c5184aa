"""Work on several threads comes back in order, and so do its errors."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from autorec_cli.runtime import threads as module
from autorec_cli.runtime.threads import BackgroundThread, in_order, one_ahead
from tests.program import ROOT

N_THREADS = module.n_threads


@pytest.fixture(params=[1, 2, 4])
def threads(request, monkeypatch):
    monkeypatch.setattr(module, "n_threads", lambda: request.param)
    return request.param


def results_of(work, tasks):
    with in_order(work, tasks) as results:
        return list(results)


def test_results_come_in_the_order_of_the_tasks(threads):
    def work(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    assert results_of(work, range(20)) == [number * number for number in range(20)]
    assert results_of(work, []) == []


def test_few_tasks_are_in_flight(threads):
    taken = yielded = 0

    def tasks():
        nonlocal taken
        for number in range(50):
            assert taken - yielded <= threads + 1
            taken += 1
            yield number

    with in_order(lambda number: number, tasks()) as results:
        for _ in results:
            yielded += 1
    assert yielded == 50


def test_work_is_done_on_as_many_threads(threads):
    if threads > 1:
        together = threading.Barrier(threads, timeout=10)
        assert len(results_of(lambda _: together.wait(), range(threads))) == threads


@pytest.mark.parametrize("where", ["work", "tasks"])
def test_an_error_comes_after_the_results_before_it(threads, where):
    def fails(number):
        if number == 3:
            raise ValueError(where)
        return number

    tasks = map(fails, range(9)) if where == "tasks" else range(9)
    results = []
    work = fails if where == "work" else lambda number: number
    with pytest.raises(ValueError, match=where), in_order(work, tasks) as ordered:
        results.extend(ordered)
    assert results_of(lambda number: number, range(3)) == [0, 1, 2]


def test_results_before_an_error_are_all_yielded(threads):
    def tasks():
        yield from range(3)
        raise OSError

    results = []
    with pytest.raises(OSError), in_order(lambda number: number, tasks()) as ordered:  # noqa: PT011, PT012
        for result in ordered:
            results.append(result)
    assert results == [0, 1, 2]


def test_the_next_result_alone_is_made_while_one_is_used():
    begun = [threading.Event() for _ in range(4)]

    def work(number):
        begun[number].set()
        return number, threading.current_thread()

    with one_ahead(work, range(4), is_threaded=True) as results:
        for number, thread in results:
            assert thread is not threading.current_thread()
            assert number == 3 or begun[number + 1].wait(10)
            assert number >= 2 or not begun[number + 2].is_set()


def test_the_processes_of_a_machine_share_its_processors(monkeypatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(6), raising=False)
    expected = {1: 4, 2: 3, 6: 1, 7: 1}
    for n_here, expected_threads in expected.items():
        monkeypatch.setattr(module, "local_rank", lambda n=n_here: (0, n))
        assert N_THREADS() == expected_threads


def test_calls_follow_each_other_and_their_exceptions_come_back():
    done = []
    with BackgroundThread(max_pending=2) as following:
        for number in range(20):
            following.call(done.append, number)
    assert done == list(range(20))
    with pytest.raises(ZeroDivisionError), BackgroundThread() as following:
        following.call(divmod, 1, 0)


def test_calls_that_have_not_begun_are_dropped_where_the_block_raises():
    done, go_on = [], threading.Event()

    def leave_early():
        with BackgroundThread(max_pending=5) as following:
            following.call(go_on.wait)
            following.call(done.append, 1)
            threading.Timer(0.1, go_on.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        leave_early()
    assert done == []


def test_an_abandoned_generator_is_collected_while_threads_start():
    """In a process of its own: the deadlock that this is about would hang it for good."""
    subprocess.run([sys.executable, "-m", "tests.abandoned", "in_order"], cwd=ROOT, check=True, capture_output=True)


def test_a_module_is_loaded_while_this_thread_goes_on():
    loaded = (
        "import sys, time; from autorec_cli.runtime.threads import import_in_background; import_in_background('wave')"
    )
    waited = "[time.sleep(0.01) for _ in range(1000) if 'wave' not in sys.modules]; print('wave' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", f"{loaded}; {waited}"], capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("True\n", "")


def test_a_module_that_cannot_be_loaded_is_told_of_by_whoever_needs_it():
    code = "from autorec_cli.runtime import threads; threads.import_in_background('autorec_cli.no_such_module')"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("", "")  # at its end Python has waited for the thread
