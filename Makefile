# Every target does all the set-up it needs; when nothing changed, that takes no noticeable time.
# PYTHON=python3.12 make ... picks the Python of the virtual environment.

VENV := functions/venv/bin

# Any Python 3 can run the set-up, which looks for a suitable one by itself. A name on PATH proves
# nothing: version managers leave stand-ins there that refuse to run.
PYTHON3 = $(or $(shell for python in python3 python3.13 python3.12 python3.11 $$PYTHON; do \
	    $$python -c '' 2>/dev/null && echo $$python && break; done), \
	$(error chatsync needs Python 3.11, 3.12 or 3.13: https://www.python.org/downloads/))

# For every Python from 3.11 on and every system; the header of each lock is without the rest.
LOCK = UV_PYTHON=$(VENV)/python UV_PYTHON_DOWNLOADS=never $(VENV)/uv pip compile --quiet $(UPGRADE) \
	--universal --python-version 3.11 --generate-hashes

# As many fast tests at once as there are processors. Who is done takes over from who is not.
AT_ONCE := --numprocesses logical --dist worksteal

# Some images set it. To compile the tests takes nine seconds, in each process and at each run.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# `tests` and `monitoring` are folders: make would call them up to date.
.PHONY: help setup setup-python demo start test tests ci-emulators ci-others ci-untraced ci-chaos ci-bench \
	test-fast test-pythons coverage chaos bench check format monitoring lock clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: setup  ## show a sign-up, a missing chat user and its repair, on the emulators
	@$(VENV)/python -m dev.demo

start: setup  ## keep the emulators and the local Stream server up, for app development
	@$(VENV)/python -m dev.start

ifdef CI

# With `make --jobs`, side by side: tests on the emulators wait more than they compute, and what needs
# Python only begins while Node packages are installed. Those on one local stack take longest, one
# after the other: all else gives way to them. The emulators' Java programs live too short for its
# slow, thorough compiler.
test: export JAVA_TOOL_OPTIONS := -XX:TieredStopAtLevel=1
test: ci-emulators coverage ci-others ci-untraced ci-chaos ci-bench

else

test: test-fast setup  ## run all tests
	@$(VENV)/pytest tests/emulator examples

endif

ci-emulators: setup
	@$(VENV)/pytest tests/emulator -m emulators
	@$(VENV)/python -m bench --smoke --only emulator

# All below have stacks of their own, or need none.
ci-others: setup
	@nice $(VENV)/pytest tests/emulator examples -m "not emulators"

ci-untraced: setup-python
	@nice $(VENV)/pytest tests/fast -m untraced

# With one seed always, and with a new one, which it prints.
A_MINUTE := nice $(VENV)/python -m tests.elsewhere tests.chaos --minutes 1 --operations 300
ci-chaos: setup
	@$(A_MINUTE) --seed 23
	@$(A_MINUTE)

ci-bench: setup
	@nice $(VENV)/python -m tests.elsewhere bench --smoke

tests: test

test-fast: setup-python  ## run the tests that need neither Java nor Node
	@$(VENV)/pytest tests/fast $(AT_ONCE)

coverage: setup-python  ## run them traced, and fail if they no longer reach enough of the code
	@$(if $(CI),nice) $(VENV)/coverage run -m pytest -q tests/fast -m "not untraced"
	@$(VENV)/coverage report

test-pythons: setup-python  ## run the fast tests on each supported Python of this machine
	@$(VENV)/python -m dev.pythons

chaos: setup  ## let everything fail under load, and see that nobody is lost (six minutes)
	@$(VENV)/python -m tests.chaos
	@$(VENV)/python -m tests.chaos --burst 3000

bench: setup  ## measure what users wait for, and the work in the background (20 minutes)
	@$(VENV)/python -m bench

check: setup-python  ## check format, lint, types, and who may import whom
	@$(VENV)/ruff format --check
	@$(VENV)/ruff check
	@$(VENV)/mypy
	@PYTHONPATH=functions $(VENV)/lint-imports --no-logo --no-cache

format: setup-python  ## format the code and fix what lint can fix
	@$(VENV)/ruff format
	@$(VENV)/ruff check --fix

monitoring: setup-python  ## write monitoring/ from the table of alerts, dev/alerts.py
	@PYTHONPATH=functions $(VENV)/python -m dev.monitoring

lock: setup-python  ## pin everything, with hashes (UPGRADE=--upgrade: what others need, at its newest)
	@$(LOCK) functions/requirements.in -o functions/requirements.txt
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) dev/java.in -o dev/java.txt

setup: setup-python  ## install everything (the other targets do this themselves)
	@$(PYTHON3) -m dev.setup

setup-python:
	@$(PYTHON3) -m dev.setup --python-only

clean:  ## remove what set-up and tests made, except your settings in functions/.*.local
	rm -rf functions/venv node_modules .local firebase.local.json *-debug.log
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
