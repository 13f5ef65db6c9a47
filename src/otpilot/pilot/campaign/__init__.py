"""A campaign: analyse, propose, try, review, decide, round after round, from a ledger that survives everything."""
