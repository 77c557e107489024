"""Write monitoring/ from the table of alerts: log-based metrics, alert policies, a dashboard.

    python -m dev.monitoring [--check]

Each file is the JSON of a type of Google's: LogMetric, AlertPolicy, Dashboard.
"""

import json
import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from .alerts import ABSENT_HOURS, ALERTS, SLOW_SECONDS, Alert

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "monitoring"

LONGEST_WINDOW = 25 * 3600
"""Seconds: Cloud Monitoring counts over no longer time in an alert."""

Json = dict[str, Any]


def files() -> dict[str, str]:
    """The text of each file, by its path in monitoring/."""
    contents: dict[str, Json] = {"dashboard.json": dashboard()}
    for alert in ALERTS:
        contents[f"alerts/{alert.id}.json"] = policy(alert)
        if alert.events:
            contents[f"metrics/{alert.metric}.json"] = metric(alert)
    return {path: json.dumps(content, indent=2) + "\n" for path, content in contents.items()}


def metric(alert: Alert) -> Json:
    """Counts the lines of an alert."""
    labels = [alert.by] if alert.by not in ("", "service") else []
    return {
        "name": alert.metric,
        "description": f"chatsync, {alert.name}: {alert.means}",
        "filter": alert.log_filter,
        "metricDescriptor": {
            "metricKind": "DELTA",
            "valueType": "INT64",
            "unit": "1",
            "labels": [{"key": label, "valueType": "STRING"} for label in labels],
        },
        "labelExtractors": {label: f"EXTRACT(jsonPayload.{label})" for label in labels},
    }


def policy(alert: Alert) -> Json:
    text = f"{alert.means}\n\nRead on in chatsync's {alert.document}."
    if alert.events:
        text += f"\n\nIts lines in the log:\n\n    {alert.log_filter}"
    condition = {"displayName": alert.condition, "conditionThreshold": threshold(alert)}
    return {
        "displayName": f"chatsync: {alert.name}",
        "documentation": {"content": text, "mimeType": "text/markdown"},
        "userLabels": {"chatsync": alert.id},
        "severity": alert.severity,
        "combiner": "OR",
        "conditions": [condition],
        # So long after its last line: then the next line is told again.
        "alertStrategy": {"autoClose": "604800s" if alert.is_absence else "1800s"},
    }


def threshold(alert: Alert) -> Json:
    if not alert.events:
        return {
            **latency(),
            "comparison": "COMPARISON_GT",
            "thresholdValue": SLOW_SECONDS * 1000,
            "duration": "600s",
        }
    if alert.is_absence:
        # An absence proper may last 23.5 hours at most, and the audit is daily.
        return {
            **lines(alert, LONGEST_WINDOW),
            "comparison": "COMPARISON_LT",
            "thresholdValue": 1,
            "duration": f"{ABSENT_HOURS * 3600 - LONGEST_WINDOW}s",
            "evaluationMissingData": "EVALUATION_MISSING_DATA_ACTIVE",
        }
    return {
        **lines(alert, alert.minutes * 60),
        "comparison": "COMPARISON_GT",
        "thresholdValue": alert.count - 1,
        "duration": "0s",
    }


def lines(alert: Alert, seconds: int) -> Json:
    """How many lines there are in so many seconds."""
    apart = {"": [], "service": ["resource.label.service_name"]}
    return series(
        f'metric.type="logging.googleapis.com/user/{alert.metric}"',
        seconds,
        aligner="ALIGN_SUM",
        reducer="REDUCE_SUM",
        by=apart.get(alert.by, [f"metric.label.{alert.by}"]),
    )


def latency() -> Json:
    callables = services(functions("@callable_function"))
    return series(
        f'metric.type="run.googleapis.com/request_latencies" AND {callables}',
        300,
        aligner="ALIGN_DELTA",
        reducer="REDUCE_PERCENTILE_95",
        by=["resource.label.service_name"],
    )


def series(
    metric: str,
    seconds: int,
    *,
    aligner: str,
    reducer: str,
    by: list[str],
    of: str = "cloud_run_revision",
) -> Json:
    aggregation: Json = {
        "alignmentPeriod": f"{seconds}s",
        "perSeriesAligner": aligner,
        "crossSeriesReducer": reducer,
        "groupByFields": by,
    }
    filters = f'{metric} AND resource.type="{of}"'
    return {"filter": filters, "aggregations": [aggregation]}


def services(names: list[str]) -> str:
    """Google gives the service of a function its name in lower case."""
    in_lower_case = ", ".join(f'"{name.lower()}"' for name in names)
    return f"resource.label.service_name=one_of({in_lower_case})"


def dashboard() -> Json:
    of_log = sorted((alert for alert in ALERTS if alert.events), key=_place)
    errors = 'request_count" AND metric.label.response_code_class="5xx'
    charts = [
        {"title": "Open incidents", "incidentList": {}},
        *(
            chart(title, {_legend(one): lines(one, 600) for one in alerts}, plot="STACKED_BAR")
            for title, alerts in groupby(of_log, key=lambda alert: alert.chart)
        ),
        chart(ALERTS[-1].chart, {"": latency()}, unit="ms", limit=SLOW_SECONDS * 1000),
        chart("Calls per second", {"": of_functions("request_count", "ALIGN_RATE")}),
        chart("Failed calls per second", {"": of_functions(errors, "ALIGN_RATE")}),
        chart("Instances", {"": of_functions("container/instance_count", "ALIGN_MAX")}),
        chart("Waiting tasks", {"": waiting_tasks()}),
    ]
    log = {"title": "Lines with an event", "logsPanel": {"filter": 'jsonPayload.event:"chatsync."'}}
    tiles = [tile(widget, 16 * (n % 3), n // 3, 16) for n, widget in enumerate(charts)]
    tiles.append(tile(log, 0, -(-len(charts) // 3), 48))
    return {"displayName": "chatsync", "mosaicLayout": {"columns": 48, "tiles": tiles}}


def of_functions(metric: str, aligner: str) -> Json:
    """All functions, each by itself."""
    return series(
        f'metric.type="run.googleapis.com/{metric}" AND {services(functions())}',
        300,
        aligner=aligner,
        reducer="REDUCE_SUM",
        by=["resource.label.service_name"],
    )


def waiting_tasks() -> Json:
    queues = 'resource.label.queue_id=one_of("drainRepairs", "runSweep", "setUp")'
    return series(
        f'metric.type="cloudtasks.googleapis.com/queue/depth" AND {queues}',
        300,
        aligner="ALIGN_MAX",
        reducer="REDUCE_SUM",
        by=["resource.label.queue_id"],
        of="cloud_tasks_queue",
    )


def functions(decorator: str = "") -> list[str]:
    """Names of what is deployed: all, or with this decorator right above."""
    main = (ROOT / "functions" / "main.py").read_text()
    return re.findall(rf"{decorator}\ndef ([a-z]+[A-Z]\w*)\(", main)


def _legend(alert: Alert) -> str:
    return "audits at their end" if alert.is_absence else alert.name


def _place(alert: Alert) -> int:
    """Of its chart: where the table has it first."""
    return [one.chart for one in ALERTS].index(alert.chart)


def chart(
    title: str, all_series: dict[str, Json], *, plot: str = "LINE", unit: str = "", limit: int = 0
) -> Json:
    """A chart of series by their names in the legend, with a line at ``limit``."""
    sets = [
        {
            "timeSeriesQuery": {
                "timeSeriesFilter": {
                    "filter": one["filter"],
                    "aggregation": one["aggregations"][0],
                },
                "unitOverride": unit,
            },
            "plotType": plot,
            "minAlignmentPeriod": one["aggregations"][0]["alignmentPeriod"],
            "legendTemplate": name if len(all_series) > 1 else "",
        }
        for name, one in all_series.items()
    ]
    thresholds = [{"value": limit}] if limit else []
    return {"title": title, "xyChart": {"dataSets": sets, "thresholds": thresholds}}


def tile(widget: Json, x: int, row: int, width: int) -> Json:
    return {"xPos": x, "yPos": 16 * row, "width": width, "height": 16, "widget": widget}


def outdated() -> list[str]:
    """Paths in monitoring/ that are missing, not as they should be, or too many."""
    wanted = files()
    there = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.json")}
    paths = sorted(wanted.keys() | there.keys())
    return [path for path in paths if wanted.get(path) != there.get(path)]


def main() -> None:
    different = outdated()
    if "--check" in sys.argv:
        for path in different:
            print(f"monitoring/{path} is not what dev/alerts.py says: run `make monitoring`.")
        sys.exit(1 if different else 0)
    wanted = files()
    for path in different:
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in wanted:
            file.write_text(wanted[path])
        else:
            file.unlink()


if __name__ == "__main__":
    main()
