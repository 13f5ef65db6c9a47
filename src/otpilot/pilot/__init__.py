"""The pilot: rules, variants, ledger, executors, campaigns. Never imports torch or lerobot."""
