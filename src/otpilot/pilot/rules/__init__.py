"""Rules: findings and config in, a proposal with its reason out, or nothing."""

from otpilot.pilot.rules.base import RuleContext, context_of
from otpilot.pilot.rules.table import RULES, Judgement, Rule, judge, sweeps
from otpilot.pilot.rules.users import all_rules

__all__ = ["RULES", "Judgement", "Rule", "RuleContext", "all_rules", "context_of", "judge", "sweeps"]
