"""Numbers in, findings out: statistics of curves, diagnosis of runs, comparison, verdicts. No torch, no lerobot."""
