"""Runs the fast tests on every supported Python that this machine has."""

import subprocess
import sys

from dev import setup


def main() -> None:
    results = {version: run(version) for version in reversed(setup.PYTHON_VERSIONS)}
    for version, result in results.items():
        print(f"Python {version}: {result}")
    if "failed" in results.values():
        sys.exit(1)


def run(version: str) -> str:
    found = (one for one in setup.pythons(version) if setup.python_version(one) == version)
    python = next(found, None)
    if not python:
        return "not on this machine"
    place = setup.LOCAL / f"venv-{version}"
    print(f"\nPython {version} ({python})", flush=True)
    if not (place / "bin" / "pytest").exists():
        subprocess.run([python, "-m", "venv", "--clear", place], check=True)
    setup.pip_install(setup.PACKAGES, place / "bin" / "python")
    at_once = ("--numprocesses", "logical", "--dist", "worksteal")  # as `make test-fast`
    tests = subprocess.run([place / "bin" / "pytest", "-q", "tests/fast", *at_once], cwd=setup.ROOT)
    return "failed" if tests.returncode else "passed"


if __name__ == "__main__":
    main()
