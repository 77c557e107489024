"""The charts of ``report``, as specifications of Vega-Lite, and how they are drawn; pure.

The colours are variables of the page's CSS, so that a chart is readable in light, in dark and in
print.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from vl_convert import vegalite_to_svg

from ..daily import Day
from .explain.lines import plain
from .health import NIGHTS
from .nights import Night, rate_of_team
from .terminal import percent

Spec = dict[str, Any]
Rows = list[dict[str, Any]]

WIDTH, HEIGHT, ROW = 640, 180, 18
MARGIN, MARGIN_OF_NAMES = 48, 190
"""Left of a chart, for what its axis says: so all of them end at the same width."""

MOST_TEAMS = 12

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_TEXT, _FAINT, _GRID = "var(--text)", "var(--faint)", "var(--grid)"
_BAD, _MAIN = "var(--bad)", "var(--main)"
_LINES = ("var(--one)", "var(--two)", "var(--three)", "var(--four)", "var(--five)", "var(--six)")

_CONFIG: Spec = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        **{"labelColor": _TEXT, "titleColor": _FAINT, "gridColor": _GRID, "labelFontSize": 11},
        **{"domainColor": _FAINT, "tickColor": _FAINT, "titleFontWeight": "normal"},
    },
    "legend": {"labelColor": _TEXT, "labelFontSize": 11, "orient": "top", "columnPadding": 24},
    "text": {"color": _TEXT, "fontSize": 11},
    "title": {"color": _TEXT, "fontSize": 12, "anchor": "start", "fontWeight": "normal"},
}

_STEPS = (
    (1.0, "100%", "var(--heat0)"),
    (0.99, "99 to 100%", "var(--heat1)"),
    (0.95, "95 to 99%", "var(--heat2)"),
    (0.9, "90 to 95%", "var(--heat3)"),
    (0.0, "below 90%", "var(--heat4)"),
)
"""From which rate on a team's night has which colour."""


def draw(spec: Spec) -> str:
    """An SVG."""
    whole = {"$schema": _SCHEMA, "config": _CONFIG, **spec}
    return str(vegalite_to_svg(whole, vl_version="5.21"))


def sync_rate(nights: Sequence[Night], now: datetime) -> Spec:
    """The share in sync of each night; nights without an audit are marked."""
    rows = [{"date": one.date, "rate": one.rate} for one in nights]
    rates = [(one.date, one.rate) for one in nights if one.rate is not None]
    lowest = min((rate for _, rate in rates), default=1.0)
    least = max(0, min(0.99, lowest - (1 - lowest) / 4))
    y = _quantity("rate", number_format=".1%", domain=[least, 1])
    last = [{"date": date, "rate": rate, "text": percent(rate, 1)} for date, rate in rates[-1:]]
    return {
        **_size(),
        "padding": {"left": 5, "top": 5, "bottom": 5, "right": 20},
        "layer": [
            _without((one.date for one in nights if one.audit is None), now),
            {
                "data": {"values": rows},
                "mark": {
                    **{"type": "line", "color": _MAIN, "strokeWidth": 2},
                    **{"point": {"color": _MAIN}, "invalid": "break-paths-show-domains"},
                },
                "encoding": {"x": _date(now, 0.5), "y": y},
            },
            {
                "data": {"values": last},
                "mark": {"type": "text", "align": "left", "dx": 8, "fontWeight": "bold"},
                "encoding": {
                    **{"x": _date(now, 0.5), "y": y},
                    "text": {"field": "text", "type": "nominal"},
                },
            },
        ],
    }


def teams(nights: Sequence[Night], now: datetime) -> Spec | None:
    """The worst teams, each night in the colour of its rate; None if there are no two teams."""
    shown = worst_teams(nights)
    if len(shown) < 2:
        return None
    rows: Rows = []
    for number, (team, _) in enumerate(shown):
        for night in nights:
            value = rate_of_team(night.audit, team) if night.audit else None
            if value is not None:
                step = next(name for least, name, _ in _STEPS if value >= least)
                rows.append({"date": night.date, "team": number, "step": step})
    # By number: two names may be shortened to the same.
    labels = json.dumps([f"{_shortened(team)}  {percent(rate, 1)}" for team, rate in shown])
    colours = {name: colour for _, name, colour in _STEPS}
    return {
        **_size(ROW * len(shown), WIDTH + MARGIN - MARGIN_OF_NAMES),
        "data": {"values": rows},
        "mark": {"type": "rect", "stroke": "var(--page)", "strokeWidth": 1},
        "encoding": {
            "x": _date(now),
            "y": {
                **{"field": "team", "type": "ordinal", "title": None},
                "axis": {
                    **{"domain": False, "ticks": False, "labelLimit": MARGIN_OF_NAMES - 10},
                    "labelExpr": f"{labels}[datum.value]",
                    **{"minExtent": MARGIN_OF_NAMES, "maxExtent": MARGIN_OF_NAMES},
                },
            },
            "color": _colours("step", colours),
        },
    }


def worst_teams(nights: Sequence[Night]) -> list[tuple[str, float]]:
    """Up to twelve teams with their rates in the last audit, the lowest first."""
    audit = next((one.audit for one in reversed(nights) if one.audit), None)
    rates = {team: rate_of_team(audit, team) for team in audit.teams} if audit else {}
    known = [(team, rate) for team, rate in rates.items() if rate is not None]
    return sorted(known, key=lambda one: (one[1], one[0]))[:MOST_TEAMS]


def findings(nights: Sequence[Night], now: datetime) -> Spec:
    """What each night found: what the audit repaired, and what it left to a person."""
    rows: Rows = []
    for night in nights:
        if audit := night.audit:
            left = max(0, audit.findings - audit.repaired)
            rows.append({"date": night.date, "what": "repaired", "count": audit.repaired})
            rows.append({"date": night.date, "what": "left", "count": left})
    return {
        **_size(),
        "layer": [
            _without((one.date for one in nights if one.audit is None), now),
            {
                "data": {"values": rows},
                "mark": {"type": "bar", "width": {"band": 0.8}},
                "encoding": {
                    "x": _date(now),
                    "y": _quantity("count", number_format="~s", ticks=_ticks(rows, "count", 5)),
                    "color": _colours("what", {"left": _BAD, "repaired": _MAIN}),
                    "order": {"field": "what", "sort": "ascending"},
                },
            },
        ],
    }


def outbox(days: Mapping[str, Day | None], now: datetime) -> Spec:
    """How full the outbox was, how late, and how much was parked: one below the other."""
    rows: Rows = [
        {"date": date, "waiting": one.waiting, "oldest": one.oldest_minutes, "parked": one.parked}
        for date, one in days.items()
        if one
    ]
    without = _without((date for date, one in days.items() if not one), now)
    titles = {
        "waiting": "Entries that waited, at most",
        "oldest": "Minutes that the oldest of them waited, at most",
        "parked": "Parked entries at the end of the day",
    }
    charts = [
        {
            **_size(70),
            "title": title,
            "layer": [
                without,
                {
                    "data": {"values": rows},
                    "mark": {"type": "bar", "width": {"band": 0.8}, "color": _MAIN},
                    "encoding": {
                        "x": _date(now),
                        "y": _quantity(
                            name,
                            number_format="~s",
                            domain=[0, max((row[name] for row in rows), default=0) or 1],
                            ticks=_ticks(rows, name, 3),
                        ),
                    },
                },
            ],
        }
        for name, title in titles.items()
    ]
    return {"vconcat": charts}


def limits(days: Mapping[str, Day | None], now: datetime) -> Spec | None:
    """The greatest share of each of Stream's limits by day; None if nothing was used."""
    most: dict[str, float] = {}
    for day in days.values():
        for name, share in day.limits.items() if day else ():
            most[name] = max(share, most.get(name, 0))
    used = sorted((name for name in most if most[name] >= 0.01), key=lambda one: -most[one])
    names = sorted(used[: len(_LINES)])
    if not names:
        return None
    rows: Rows = [
        {"date": date, "operation": name, "share": day.limits.get(name) if day else None}
        for date, day in days.items()
        for name in names
    ]
    full = {"type": "rule", "color": _BAD, "strokeDash": [4, 3]}
    return {
        **_size(),
        "layer": [
            _without((date for date, day in days.items() if not day), now),
            {
                "data": {"values": rows},
                "mark": {
                    **{"type": "line", "point": True, "strokeWidth": 2},
                    "invalid": "break-paths-show-domains",
                },
                "encoding": {
                    "x": _date(now, 0.5),
                    "y": _quantity("share", number_format=".0%", domain=[0, 1]),
                    "color": _colours("operation", dict(zip(names, _LINES, strict=False))),
                },
            },
            {"data": {"values": [{}]}, "mark": full, "encoding": {"y": {"datum": 1}}},
        ],
    }


def _size(height: int = HEIGHT, width: int = WIDTH) -> Spec:
    return {"width": width, "height": height}


def _without(dates: Iterable[str], now: datetime) -> Spec:
    """The layer that marks nights or days of which nothing is known."""
    return {
        "data": {"values": [{"date": one} for one in dates]},
        "mark": {"type": "bar", "color": _BAD, "opacity": 0.25},
        "encoding": {"x": _date(now)},
    }


def _date(now: datetime, band: float | None = None) -> Spec:
    """Always thirty days, so that all charts are alike, and a night is as wide in all of them."""
    end = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    ends = (end - timedelta(days=NIGHTS), end)
    return {
        "scale": {"domain": [1000 * one.timestamp() for one in ends]},
        **{"field": "date", "timeUnit": "utcyearmonthdate", "type": "temporal"},
        **({"bandPosition": band} if band is not None else {}),
        "axis": {"format": "%b %-d", "title": None, "grid": False, "tickCount": 8},
    }


def _quantity(
    field: str,
    *,
    number_format: str,
    domain: Iterable[float] = (),
    ticks: int = 5,
) -> Spec:
    scale = {"domain": list(domain), "nice": False} if domain else {}
    axis = {
        **{"format": number_format, "title": None, "tickCount": ticks},
        **{"minExtent": MARGIN, "maxExtent": MARGIN, "titlePadding": 0},
    }
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


def _ticks(rows: Rows, field: str, most: int) -> int:
    """As many as there are whole numbers, if they are few: half an entry means nothing."""
    return min(most, max((row[field] for row in rows), default=0) or 1)


def _colours(field: str, colours: Mapping[str, str]) -> Spec:
    scale = {"domain": list(colours), "range": list(colours.values())}
    return {"field": field, "type": "nominal", "scale": scale, "legend": {"title": None}}


def _shortened(team: str) -> str:
    """Without its middle: what tells teams apart may be at the end."""
    shown = plain(team)
    return shown if len(shown) <= 18 else f"{shown[:8]}…{shown[-9:]}"
