import itertools
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import ENDS, HELD, STATES, TRANSITIONS, Ledger, Result
from otpilot.pilot.states import check_transition
from tests.pilot.conftest import Clock, new_trial


def test_a_trial_exists_once_whoever_asks(ledger, place):
    first = ledger.add_trial(new_trial(1, reason="mine"))
    with Ledger.open(**place) as other:
        assert other.add_trial(new_trial(1, name="other", reason="theirs")) == first
    assert ledger.find("h1", 7, 100) == first
    others = [ledger.add_trial(new_trial(1, **change)) for change in ({"seed": 8}, {"budget": 200})]
    assert len({first.id, *(trial.id for trial in others)}) == 3
    assert ledger.config("h1") == {"n": 1}


def test_what_was_written_comes_back(ledger):
    parent = ledger.add_trial(new_trial(0))
    made = ledger.add_trial(
        new_trial(
            1, kind="promotion", round=3, priority=-2, parent=parent.id, continues=parent.id, rule="dead_plan",
            edits=[{"key": "ot.reg", "op": "mul", "value": 2.0}], reason="π is dead", evidence={"pi": math.nan},
        )
    )  # fmt: skip
    assert made == ledger.trial(made.id)
    assert (made.kind, made.round, made.priority, made.parent, made.continues) == ("promotion", 3, -2, 1, 1)
    assert made.edits == [{"key": "ot.reg", "op": "mul", "value": 2.0}]
    assert made.evidence == {"pi": "NaN"}
    assert made.folder_name == "t1_s7_b100"
    assert ledger.ancestors(made.id) == [parent]


def test_adding_many_is_all_or_nothing(ledger):
    with pytest.raises(LedgerError, match=r"names parent 99, which is not in the ledger"):
        ledger.add_trials([new_trial(1), new_trial(2, parent=99)])
    assert ledger.trials() == []


def test_wrong_trials_are_refused(ledger):
    ledger.add_trial(new_trial(1))
    with pytest.raises(LedgerError, match=r"'t1' is taken by trial 1"):
        ledger.add_trial(new_trial(2, name="t1"))
    for change, words in (
        ({"name": "a/b"}, "cannot name a folder"),
        ({"name": ""}, "cannot name a folder"),
        ({"budget": 0}, "budget of 0 steps"),
        ({"config_hash": ""}, "empty config hash"),
    ):
        with pytest.raises(LedgerError, match=words):
            new_trial(3, **change)
    with pytest.raises(LedgerError, match="plain data only"):
        ledger.add_trial(new_trial(4, evidence={"x": object()}))
    with pytest.raises(LedgerError, match="no trial 55"):
        ledger.trial(55)
    with pytest.raises(LedgerError, match="no config 'h9'"):
        ledger.config("h9")
    with pytest.raises(LedgerError, match=r"no trial state 'runing'.*Did you mean 'running'"):
        ledger.trials(states=["runing"])


def test_trials_are_found_by_what_they_are(ledger):
    ledger.add_trials([new_trial(1, round=1), new_trial(2, round=2, kind="baseline"), new_trial(3, queue=False)])
    names = lambda **conditions: [trial.name for trial in ledger.trials(**conditions)]
    assert names() == ["t1", "t2", "t3"]
    assert names(round=2) == ["t2"]
    assert names(kind="baseline") == ["t2"]
    assert names(states=["planned"]) == ["t3"]
    assert names(config_hash="h1", states=["queued"]) == ["t1"]


def test_the_table_of_transitions_is_whole():
    assert set(TRANSITIONS) == set(STATES)
    for old, new in itertools.product(STATES, STATES):
        if new in TRANSITIONS[old]:
            check_transition(1, old, new)
        else:
            with pytest.raises(LedgerError, match=f"Trial 1 is {old} and cannot become {new}"):
                check_transition(1, old, new)
    reachable, front = set(), ["planned"]
    while front:
        state = front.pop()
        reachable.add(state)
        front += [new for new in TRANSITIONS[state] if new not in reachable]
    assert reachable == set(STATES)
    for answer in ("finished", "stopped_early", "diverged", "invalid"):
        assert TRANSITIONS[answer] == ()


def test_planned_waits_until_it_is_queued(ledger):
    trial = ledger.add_trial(new_trial(1, queue=False))
    assert ledger.claim("me") is None
    assert ledger.queue(trial.id).retries == 0
    assert ledger.claim("me").trial.id == trial.id


def test_cancelled_can_be_wanted_again(ledger):
    trial = ledger.add_trial(new_trial(1))
    assert ledger.cancel(trial.id, reason="out of hours").end_reason == "out of hours"
    assert ledger.cancel(trial.id, reason="again").end_reason == "out of hours"
    assert ledger.claim("me") is None
    assert ledger.queue(trial.id).retries == 0
    lease = ledger.claim("me")
    with pytest.raises(LedgerError, match="is leased and cannot become cancelled"):
        ledger.cancel(trial.id, reason="too late")
    ledger.finish(lease, Result(state="finished", reason="done"))
    with pytest.raises(LedgerError, match="it is final"):
        ledger.queue(trial.id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["queue", "cancel", "claim", "start", "finish", "give_back", "beat", "wait"]),
            st.integers(0, 2),
            st.sampled_from(ENDS),
        ),
        max_size=25,
    )
)
def test_no_sequence_of_calls_leaves_the_table(tmp_path_factory, calls):
    clock = Clock()
    leases = []
    with Ledger.open(tmp_path_factory.mktemp("any") / "l.db", clock=clock, lease_s=60) as ledger:
        ids = [t.id for t in ledger.add_trials([new_trial(n, queue=n > 0) for n in range(3)])]
        before = {t.id: t.state for t in ledger.trials()}
        for call, number, end in calls:
            lease = leases[number] if number < len(leases) else None
            try:
                if call in ("queue", "cancel"):
                    ledger.queue(ids[number]) if call == "queue" else ledger.cancel(ids[number], reason="x")
                elif call == "claim":
                    taken = ledger.claim(f"o{number}")
                    leases += [taken] if taken else []
                elif call == "wait":
                    clock.now += 40
                elif lease and call == "beat":
                    ledger.heartbeat([lease])
                elif lease and call == "finish":
                    ledger.finish(lease, Result(state=end, reason="x"))
                elif lease:
                    ledger.start(lease) if call == "start" else ledger.give_back(lease, reason="x")
            except LedgerError:
                assert {t.id: t.state for t in ledger.trials()} == before, "a refused call changed something"
            after = {t.id: t.state for t in ledger.trials()}
            for trial, state in after.items():
                assert state == before[trial] or state in TRANSITIONS[before[trial]]
            held = ledger.trials(states=HELD)
            assert all(t.owner and t.lease_until for t in held)
            assert all(t.owner is None for t in ledger.trials() if t not in held)
            before = after
