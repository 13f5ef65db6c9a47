"""The contract on disk: a run folder, its writer and its readers."""
