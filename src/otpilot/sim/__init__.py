"""A small two-domain tabletop simulator with a scripted expert: demo, tests and benchmarks run on it."""
