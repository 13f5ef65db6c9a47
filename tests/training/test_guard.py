"""The guard: what it lets pass, what it skips, when it ends a run."""

import math

import pytest

from otpilot.config.training import GuardConfig
from otpilot.errors import ConfigError, TrainingError
from otpilot.training.guard import MIN_NORMS, Guard


def warmed(**settings) -> Guard:
    """Return a guard that has seen quiet norms of 1."""
    guard = Guard(GuardConfig(**settings))
    for step in range(MIN_NORMS):
        assert guard.check(loss=1.0, norm=1.0, step=step).action == "go"
    return guard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_non_finite_numbers_stop_or_skip(loss, norm):
    with pytest.raises(TrainingError, match=r"at step 7\. Lower the learning rate"):
        Guard(GuardConfig()).check(loss=loss, norm=norm, step=7)
    verdict = Guard(GuardConfig(nonfinite="skip")).check(loss=loss, norm=norm, step=7)
    assert (verdict.action, verdict.alarm) == ("skip", "nonfinite")


def test_skipping_has_an_end():
    guard = Guard(GuardConfig(nonfinite="skip", max_skips=2))
    for _ in range(2):
        guard.check(loss=math.nan, norm=1.0, step=1)
    with pytest.raises(TrainingError, match=r"3 steps in a row were skipped \(guard.max_skips\)"):
        guard.check(loss=math.nan, norm=1.0, step=1)


def test_a_good_step_ends_the_row_of_skips():
    guard = Guard(GuardConfig(nonfinite="skip", max_skips=1))
    for _ in range(5):
        guard.check(loss=math.nan, norm=1.0, step=1)
        guard.check(loss=1.0, norm=1.0, step=2)


@pytest.mark.parametrize(("reaction", "action"), [("warn", "go"), ("skip", "skip")])
def test_a_spike_is_far_above_the_recent_median(reaction, action):
    guard = warmed(grad_spike=reaction, grad_spike_factor=20.0)
    assert guard.check(loss=1.0, norm=19.9, step=20).alarm is None
    verdict = guard.check(loss=1.0, norm=20.1, step=21)
    assert (verdict.action, verdict.alarm) == (action, "grad_spike")
    assert "20 times the median" in verdict.message


def test_a_spike_can_end_the_run():
    with pytest.raises(TrainingError, match=r"guard.grad_spike_factor"):
        warmed(grad_spike="stop").check(loss=1.0, norm=1e6, step=20)


def test_the_first_norms_are_no_spikes():
    guard = Guard(GuardConfig(grad_spike="stop"))
    for norm in (1.0, 1e6, 1.0):
        assert guard.check(loss=1.0, norm=norm, step=0).alarm is None


def test_the_state_continues():
    one, two = warmed(grad_spike="skip"), Guard(GuardConfig(grad_spike="skip"))
    two.load_state_dict(one.state_dict())
    assert two.check(loss=1.0, norm=50.0, step=9) == one.check(loss=1.0, norm=50.0, step=9)


def test_wrong_words_name_the_closest():
    with pytest.raises(ConfigError, match=r"guard.grad_spike is 'skp'.*Did you mean 'skip'"):
        GuardConfig(grad_spike="skp")


def test_a_step_that_was_taken_with_a_warning_ends_a_row_of_skipped_ones():
    guard = warmed(nonfinite="skip", max_skips=1)
    for step in range(3):
        assert guard.check(loss=math.nan, norm=1.0, step=2 * step).action == "skip"
        spike = guard.check(loss=1.0, norm=1e6, step=2 * step + 1)
        assert (spike.action, spike.alarm) == ("go", "grad_spike")


def test_the_message_counts_the_norms_of_its_median():
    guard = warmed(grad_spike_window=10)
    for step in range(20):
        guard.check(loss=1.0, norm=1.0, step=step)
    assert "the median of the last 10 (1)" in guard.check(loss=1.0, norm=1e6, step=20).message
