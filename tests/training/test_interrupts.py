"""Signals end training between two steps, never inside one."""

import os
import signal

import pytest

from otpilot.training.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_interrupts_at_once(name):
    with Interrupts().installed(), pytest.raises(Interrupted, match=name):
        os.kill(os.getpid(), getattr(signal, name))


def test_a_deferred_section_is_finished_first():
    seen = []
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(Interrupted):  # noqa: PT012
        with interrupts.deferred():
            with interrupts.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
            seen.append("inner is over")
        seen.append("never")
    assert seen == ["inner is over"]


def test_an_error_inside_is_not_hidden():
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(ZeroDivisionError), interrupts.deferred():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError


def test_the_second_signal_is_not_held_up():
    interrupts = Interrupts()
    with interrupts.installed(), pytest.raises(KeyboardInterrupt), interrupts.deferred():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_flag_only_remembers():
    interrupts = Interrupts(flag_only=True)
    with interrupts.installed():
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.caught == "SIGTERM"


def test_the_handlers_before_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().installed():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
