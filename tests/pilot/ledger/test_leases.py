import math
import threading

import pytest

from otpilot.errors import LeaseLostError, LedgerError
from otpilot.pilot.ledger import ENDS, Ledger, Result
from tests.pilot.conftest import new_trial

DONE = Result(state="finished", reason="all steps done", exit_code=0, last_step=100, score=0.5, metrics={"l1": 0.5})


def test_the_order_is_priority_then_id(ledger):
    ledger.add_trials([new_trial(1), new_trial(2, priority=5), new_trial(3, priority=5), new_trial(4, priority=-1)])
    assert [ledger.claim("me").trial.name for _ in range(4)] == ["t2", "t3", "t1", "t4"]
    assert ledger.claim("me") is None


def test_only_the_kinds_asked_for(ledger):
    ledger.add_trials([new_trial(1), new_trial(2, kind="baseline")])
    assert ledger.claim("me", kinds=["baseline"]).trial.name == "t2"
    assert ledger.claim("me", kinds=["baseline"]) is None


def test_a_trial_from_start_to_end(ledger, clock):
    trial = ledger.add_trial(new_trial(1))
    lease = ledger.claim("me")
    assert (lease.trial.state, lease.trial.attempts, lease.until) == ("leased", 1, clock.now + 60)
    clock.now += 10
    running = ledger.start(lease, process={"pid": 4}, device="GPU-1")
    assert (running.state, running.process, running.started) == ("running", {"pid": 4}, clock.now)
    clock.now += 50
    assert ledger.heartbeat([lease]) == set()
    assert ledger.trial(trial.id).lease_until == clock.now + 60
    ended = ledger.finish(lease, DONE)
    assert (ended.state, ended.score, ended.metrics, ended.seconds) == ("finished", 0.5, {"l1": 0.5}, 60.0)
    assert (ended.owner, ended.lease_until, ended.exit_code) == (None, None, 0)
    [attempt] = ledger.attempts(trial.id)
    assert (attempt.device, attempt.outcome, attempt.ended) == ("GPU-1", "finished", clock.now)
    assert ledger.status().gpu_seconds == 60.0


@pytest.mark.parametrize("state", ENDS)
def test_each_end_is_kept_with_its_reason(ledger, state):
    ledger.add_trial(new_trial(1))
    ended = ledger.finish(ledger.claim("me"), Result(state=state, reason="because"))
    assert (ended.state, ended.end_reason) == (state, "because")
    assert ledger.claim("me") is None


def test_what_is_said_twice_counts_once(ledger):
    ledger.add_trial(new_trial(1))
    lease = ledger.claim("me", token="mine")
    assert ledger.claim("me", token="mine") == lease
    assert ledger.start(lease) == ledger.start(lease)
    assert ledger.finish(lease, DONE) == ledger.finish(lease, DONE)
    assert len(ledger.attempts(1)) == 1


def test_an_expired_lease_is_taken_over_and_the_old_owner_overwrites_nothing(ledger, clock):
    trial = ledger.add_trial(new_trial(1))
    old = ledger.claim("old")
    ledger.start(old)
    clock.now += 20
    ledger.heartbeat([old])
    clock.now += 60
    assert ledger.claim("new") is None, "good up to its last moment"
    clock.now += 1
    new = ledger.claim("new")
    assert (new.trial.id, new.trial.state, new.trial.attempts, new.trial.lost) == (trial.id, "leased", 2, 1)
    assert ledger.heartbeat([old, new]) == {old.token}
    for late in (
        lambda: ledger.finish(old, DONE),
        lambda: ledger.start(old),
        lambda: ledger.give_back(old, reason="x"),
    ):
        with pytest.raises(LeaseLostError, match=r"attempt 1\) is over: it ended as 'lost'.*held by new"):
            late()
    assert ledger.trial(trial.id).owner == "new"
    first, second = ledger.attempts(trial.id)
    assert (first.outcome, first.ended - first.started) == ("lost", 20.0), "counted up to its last heartbeat"
    assert second.outcome is None


def test_an_expired_lease_nobody_took_is_renewed(ledger, clock):
    ledger.add_trial(new_trial(1))
    lease = ledger.claim("me")
    clock.now += 1000
    assert ledger.heartbeat([lease]) == set()
    assert ledger.claim("other") is None


def test_lost_trials_come_before_waiting_ones(ledger, clock):
    ledger.add_trial(new_trial(1))
    ledger.claim("old")
    ledger.add_trial(new_trial(2, priority=99))
    clock.now += 61
    assert [ledger.claim("me").trial.name for _ in range(2)] == ["t1", "t2"]


def test_a_trial_that_loses_every_owner_is_given_up(place, clock):
    with Ledger.open(**place, clock=clock, lease_s=60, max_lost=2) as ledger:
        ledger.add_trials([new_trial(1), new_trial(2)])
        for _ in range(3):
            assert ledger.claim("doomed").trial.id == 1
            clock.now += 61
        assert ledger.claim("doomed").trial.id == 2
        given_up = ledger.trial(1)
        assert (given_up.state, given_up.attempts) == ("killed", 3)
        assert "its owner was lost 3 times (limit 2)" in given_up.end_reason


def test_a_restarted_owner_need_not_wait_nor_is_it_counted(place, clock):
    with Ledger.open(**place, clock=clock, lease_s=60, max_lost=0) as ledger:
        ledger.add_trials([new_trial(1), new_trial(2)])
        old, other = ledger.claim("me"), ledger.claim("other")
        assert ledger.owners() == ["me", "other"]
        assert ledger.release("me") == 1
        again = ledger.claim("me")
        assert (again.trial.id, again.trial.lost, again.trial.attempts) == (1, 0, 2)
        assert ledger.heartbeat([old, other, again]) == {old.token}


def test_given_back_waits_again_unharmed(ledger):
    ledger.add_trial(new_trial(1))
    lease = ledger.claim("me")
    ledger.start(lease)
    assert ledger.give_back(lease, reason="night is over") == ledger.give_back(lease, reason="night is over")
    with pytest.raises(LeaseLostError, match="'given back'"):
        ledger.finish(lease, DONE)
    again = ledger.claim("other")
    assert (again.trial.attempts, again.trial.retries, again.trial.lost) == (2, 0, 0)


def test_a_retry_starts_with_a_clean_result(ledger):
    trial = ledger.add_trial(new_trial(1))
    ledger.finish(ledger.claim("me"), Result(state="crashed", reason="boom", exit_code=1, last_step=3, score=9.0))
    queued = ledger.queue(trial.id, reason="once more")
    assert (queued.retries, queued.score, queued.exit_code, queued.last_step) == (1, None, None, None)
    assert ledger.finish(ledger.claim("me"), DONE).score == 0.5
    assert [a.outcome for a in ledger.attempts(trial.id)] == ["crashed", "finished"]


def test_wrong_results_are_refused(ledger):
    ledger.add_trial(new_trial(1))
    lease = ledger.claim("me")
    with pytest.raises(LedgerError, match="score of nan"):
        ledger.finish(lease, Result(state="finished", reason="x", score=math.nan))
    with pytest.raises(LedgerError, match="cannot end as"):
        ledger.finish(lease, Result(state="queued", reason="x"))
    assert ledger.trial(1).state == "leased"


def test_exactly_one_of_many_threads_wins(place):
    with Ledger.open(**place) as ledger:
        ledger.add_trials([new_trial(n) for n in range(40)])
        got, barrier = [], threading.Barrier(8)

        def work(name):
            barrier.wait()
            while lease := ledger.claim(name):
                got.append(lease.trial.id)

        threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == list(range(1, 41))
