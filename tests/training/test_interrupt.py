"""The first signal asks for an end, the second is one."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from genseg.training.interrupt import postponed_interrupt


@pytest.mark.fault(31)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks_and_the_second_ends_at_once(number: int) -> None:
    before = signal.getsignal(number)
    with postponed_interrupt() as is_asked_to_stop:
        assert not is_asked_to_stop()
        os.kill(os.getpid(), number)
        assert is_asked_to_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_other_threads_cannot_catch_signals_and_work_all_the_same() -> None:
    asked = []

    def work() -> None:
        with postponed_interrupt() as is_asked_to_stop:
            asked.append(is_asked_to_stop())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
    assert signal.getsignal(signal.SIGINT) is before
