"""Every limit that diagnosis and comparison use, with where it comes from; a TOML file can override them.

**Which window of good mass, and why.** The seeds contradict each other: report 004 wants `ot_pi_sum` at 0.05 to 0.3
and calls over 0.6 bad, report 001 aims at 0.1 to 0.2 and rolls back over 0.4, report 003 raises reg until it is over
0.1, and report 002 shows runs at 0.98 and 0.99 that match their baselines. The mass is exp(-E/S): it follows the unit
of the cost, so no window can hold for every setting. Used here is that of report 004, because it is the widest, the
only one given with both outer limits (1e-3 and 0.6), and contains that of report 001. Between window and outer limit
nothing is said; outside the outer limits the finding says what the evaluation does, and is only information where that
is well.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.analysis.findings import Threshold
from otpilot.errors import ConfigError, MissingFileError, closest


def _limit(default: float, origin: str) -> Any:
    return field(default=default, metadata={"origin": origin})


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits; `limit(name)` returns one with its origin. Shares and falls are fractions, not percent."""

    # how much there must be before anything is said
    min_points: float = _limit(5, "otpilot: a level is a median of up to 5 points")
    min_steps: float = _limit(500, "report 004: the plateau window, 500 steps, must fit")

    # training
    converging_steps: float = _limit(2000, "report 004: L1 within 2k steps")
    converging_fall: float = _limit(0.40, "report 004: falls by at least 40 %")
    plateau_steps: float = _limit(500, "report 004: 500 steps in a row")
    plateau_fall: float = _limit(0.02, "report 004: falls by less than 2 %")
    plateau_points: float = _limit(10, "otpilot: a window holds 10 points; wider where the log is sparser")
    diverged_tail: float = _limit(2, "otpilot: one NaN may be a skipped step; two at the end are not")
    diverged_factor: float = _limit(
        10, "otpilot: the loss ends ten times above its best level and above its first, or thirty times"
    )
    non_finite_rows: float = _limit(3, "otpilot: a row or two of NaN may be skipped steps")
    non_finite_share: float = _limit(0.05, "otpilot: more than one row in twenty is a pattern")

    # evaluation
    drift_rise: float = _limit(0.05, "report 002: +8.3 % is called mild drift; report 003's +1.7 % is not")
    drift_share: float = _limit(0.75, "report 000: 'early low': the best lies in the first 75 % of the run")
    drift_noise: float = _limit(3, "otpilot: the rise must exceed three times the noise of the evaluations")
    drift_success: float = _limit(0.10, "otpilot: success rates fall by 0.10, the half-width of 100 episodes")
    drift_severe: float = _limit(2.0, "report 000: 0.69 after 0.034 'rises dramatically'")
    score_evaluations: float = _limit(5, "docs/analysis.md: the score is the mean of the last five evaluations")

    # transport
    mass_low: float = _limit(1e-3, "report 004: below 1e-3 and not rising")
    mass_good_low: float = _limit(0.05, "report 004: 0.05-0.3 is fine (report 001 says 0.1-0.2, report 003 over 0.1)")
    mass_good_high: float = _limit(0.3, "report 004: 0.05-0.3 is fine (report 001 rolls back over 0.4)")
    mass_high: float = _limit(
        0.6, "report 004: above 0.6 may pull behaviour cloning away (report 002 ran well at 0.98)"
    )
    mass_rising: float = _limit(2.0, "otpilot: rising means twofold from one tenth of the run to the next")
    collapse_factor: float = _limit(10, "report 004: pi_sum fell from 0.1 to 1e-3..1e-2")
    diagonal_share: float = _limit(0.5, "report 004: pi_diag near pi_sum is better; the limit, one half, is otpilot's")
    cost_from_step: float = _limit(1000, "report 004: within 1k-3k steps")
    cost_to_step: float = _limit(3000, "report 004: within 1k-3k steps")
    cost_fall: float = _limit(0.10, "report 004: falls by at least 10 % against the first value")
    label_share: float = _limit(0.8, "report 001: the label was 99.8 % of the cost; the limit is otpilot's")
    dead_grad_share: float = _limit(0.01, "docs/transport.md: a gradient share under 1 % is dead")
    dead_mass: float = _limit(1e-6, "docs/transport.md: the gradient of plan_cost is the mass; the limit is otpilot's")
    eating_grad_share: float = _limit(0.5, "docs/transport.md: a gradient share over 50 % eats the policy")

    # optimiser
    grad_norm: float = _limit(100, "report 004: not over 100 for long")
    grad_norm_steps: float = _limit(500, "otpilot: 'for long' is 500 steps, the plateau window of report 004")
    spike_factor: float = _limit(5, "report 001: rolls back on spikes; five times the local median is otpilot's")
    spike_count: float = _limit(3, "otpilot: one or two spikes are batches, three are a pattern")
    jitter: float = _limit(0.9, "report 002: healthy runs show 0.38 to 0.46; twice that")
    jitter_points: float = _limit(20, "otpilot: jitter over the tail of report 002, at least 20 points")
    lr_change: float = _limit(0.01, "report 001: a logged learning rate that stays the same")
    lr_expected: float = _limit(0.05, "otpilot: only where the schedule must have moved it by 5 % by now")
    optimiser_lr_factor: float = _limit(3, "report 002: lr not beyond 3e-5 from 1e-5 without evidence")
    optimiser_wd_factor: float = _limit(10, "report 002: weight decay x500 was to blame; the limit is otpilot's")
    other_factor: float = _limit(3, "report 002: lambda_ot and reg within x0.5 to x2 were too small to explain it")
    regression: float = _limit(0.10, "report 001: rolls back when the evaluation is 10 % worse")
    jitter_exploded: float = _limit(2.0, "report 002: 'jitter did not explode'; twice the baseline's is otpilot's")

    # the log itself
    stale_points: float = _limit(10, "otpilot: fewer points repeat by chance")
    loading_share: float = _limit(
        0.5, "otpilot: loading takes more than half of a step (report 001: 0.167 s of 0.274 s)"
    )

    def __post_init__(self) -> None:
        """Check that every limit is a finite number from 0 up."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigError(f"Threshold {item.name} is {value!r}; allowed: a finite number from 0 up.")

    def limit(self, name: str) -> Threshold:
        """Return one limit with its origin."""
        return Threshold(name=name, value=float(getattr(self, name)), origin=self.origin(name))

    def limits(self, *names: str) -> tuple[Threshold, ...]:
        """Return several limits with their origins."""
        return tuple(self.limit(name) for name in names)

    def origin(self, name: str) -> str:
        """Return where the value of a limit comes from."""
        item = next(item for item in dataclasses.fields(self) if item.name == name)
        changed = getattr(self, name) != item.default
        return f"set by the user (default {item.default:g})" if changed else str(item.metadata["origin"])


def load_thresholds(path: Path) -> Thresholds:
    """Return the limits with those of a TOML file in place of the defaults; keys stand at the top or in [thresholds].

    Raises:
        MissingFileError: If the file is not there.
        ConfigError: If it is no TOML, a key is unknown, or a value is no number from 0 up.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"No thresholds file at {path}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    section = body.pop("thresholds", {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: [thresholds] is {section!r}; allowed: a table of limits.")
    given = {**body, **section}
    known = [item.name for item in dataclasses.fields(Thresholds)]
    for name in given:
        if name not in known:
            hint = closest(name, known) or f" Allowed: {', '.join(known)}."
            raise ConfigError(f"{path}: unknown threshold {name!r}.{hint}")
    return Thresholds(**given)
