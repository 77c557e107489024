"""A figure of the bench: what was measured, beside its baseline of the same run."""

from __future__ import annotations

import math
import operator
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

_WIDTH = 200
_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``measured`` and ``baseline`` are in ``unit``."""

    name: str
    measured: float
    baseline: float
    unit: str
    goal: str
    """What the ratio is to be, such as ``<= 1.15``; or none."""
    note: str
    """How many samples, and what a reader should know."""

    @property
    def ratio(self) -> float:
        return self.measured / self.baseline if self.baseline else math.nan

    @property
    def met(self) -> bool | None:
        """None if there is no goal."""
        if not self.goal:
            return None
        comparison, bound = self.goal.split()
        return _COMPARE[comparison](round(self.ratio, 2), float(bound))

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": self.measured,
            "baseline": self.baseline,
            "unit": self.unit,
            "ratio": self.ratio,
            "goal": self.goal or None,
            "met": self.met,
            "note": self.note,
        }


def p50(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def p95(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=20, method="inclusive")[-1]


def table(figures: Iterable[Figure]) -> Table:
    lines = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column("figure")
    for column in ("measured", "baseline", "ratio"):
        lines.add_column(column, justify="right", no_wrap=True)
    lines.add_column("goal", no_wrap=True)
    lines.add_column("", no_wrap=True)
    lines.add_column("note")
    for figure in figures:
        lines.add_row(
            figure.name,
            _amount(figure.measured, figure.unit),
            _amount(figure.baseline, figure.unit),
            f"{figure.ratio:.2f}",
            figure.goal,
            {True: "met", False: "MISSED", None: ""}[figure.met],
            figure.note,
        )
    return lines


def show(figures: Iterable[Figure]) -> None:
    """Into a file or pipe without wrapping."""
    width = None if sys.stdout.isatty() else _WIDTH
    Console(highlight=False, width=width).print(table(figures))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def describe(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['os']},"
        f" Python {machine['python']}; load {machine['load']} before the run"
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _amount(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
