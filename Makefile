.PHONY: check test test-all bench docs

check:            ## formatting, lint, types, layering, dependencies
	uv run ruff format --check .
	uv run ruff check .
	uv run mypy
	uv run lint-imports
	uv run deptry src

test:             ## the quick tests (what README calls `uv run pytest`)
	uv run pytest

test-all:         ## also the tests that take minutes
	uv run pytest -m "slow or not slow"

bench:            ## ratios against named peers, each measured in one run
	for f in benchmarks/*.py; do uv run --group bench python $$f || exit 1; done

docs:             ## check that every file the documentation links to exists
	uv run python docs/check_links.py
