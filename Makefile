# Every command sets up what it needs by itself, in .venv/ and .state/. See docs/running.md.

PYTHON ?= python3
VENV := .venv/bin

.PHONY: run test check setup

run: setup
	@exec $(VENV)/python -m shop.stack.run --under-make

# Two processes, each with servers of its own. BROWSER=0 leaves the browser tests out; T="tests/layers -k redis" chooses
# tests, for one process.
T ?= -n 2 --dist loadfile --no-loadscope-reorder

test: setup
	@exec $(VENV)/python -m pytest $(T)

check: setup
	@exec $(VENV)/python -m shop.stack.check

setup:
	@exec $(PYTHON) -I shop/stack/setup.py
