"""docs/rules.md lists the rules, the limits of edits and the search space as they are."""

from pathlib import Path

import pytest

from otpilot.config.bounds import BOUNDS, POLICY_BOUNDS
from otpilot.pilot.rules import RULES, Rule, RuleContext, all_rules, judge
from tests.pilot.rules.cases import JITTER, act

DOCS = Path(__file__).resolve().parents[3] / "docs" / "rules.md"


def row(rule: Rule) -> str:
    first = (rule.function.__doc__ or "").strip().split("\n")[0]
    policies = ", ".join(rule.policies) if rule.policies else "all"
    return f"| `{rule.name}` | {policies} | {first} | {rule.source} |"


def bound_rows() -> list[str]:
    items = [(key, "", bound) for key, bound in BOUNDS.items()]
    items += [(key, f" ({policy})", bound) for (policy, key), bound in POLICY_BOUNDS.items()]
    return [f"| `{key}`{who} | {b.kind} | {b.low:g} | {b.high:g} | {b.origin} |" for key, who, b in items]


@pytest.mark.parametrize("expected", [*map(row, RULES), *bound_rows()])
def test_every_rule_and_limit_is_listed(expected: str) -> None:
    assert expected in DOCS.read_text(encoding="utf-8").splitlines()


def test_nothing_else_is_listed() -> None:
    lines = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(lines) == sorted([*map(row, RULES), *bound_rows()])


def test_the_example_of_a_users_rule_works(tmp_path: Path) -> None:
    code = DOCS.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    path = tmp_path / "mine.py"
    path.write_text(code)
    rules, notes = all_rules([path])
    assert notes == ()
    found = judge((JITTER,), act(), RuleContext(), rules=rules[len(RULES) :])
    assert [(p.rule, str(p.edits[0])) for p in found.proposals] == [("wider_window", "ot.window_size *= 2")]
