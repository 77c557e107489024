"""monitoring/ is what dev/alerts.py says, of Google's types, and finds the lines of the log."""

from __future__ import annotations

import json
import operator
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud.logging_v2.types import LogMetric
from google.cloud.monitoring_dashboard_v1 import Dashboard
from google.cloud.monitoring_v3 import AlertPolicy

from chatsync.log_events import LogEvent
from dev import monitoring
from dev.alerts import ALERTS
from tests.fast.test_documents import callables, deployed_functions
from tests.fast.test_log_events import (  # noqa: F401 (fixtures)
    SITUATIONS,
    call,
    environment,
    lines,
    world,
)

FOLDER = monitoring.FOLDER
METRICS = sorted(FOLDER.glob("metrics/*.json"))
POLICIES = sorted(FOLDER.glob("alerts/*.json"))
OF_LOG = [alert for alert in ALERTS if alert.events]


# The files


def test_they_are_what_the_table_says():
    assert monitoring.outdated() == [], "run `make monitoring`"


def test_check_tells_by_its_status_what_is_outdated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(monitoring, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["monitoring"])
    monitoring.main()
    (tmp_path / "alerts" / "slow.json").write_text("{}")
    (tmp_path / "alerts" / "of_before.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["monitoring", "--check"])
    with pytest.raises(SystemExit) as ended:
        monitoring.main()
    told = re.findall(r"monitoring/(\S+) is not", capsys.readouterr().out)
    assert (ended.value.code, told) == (1, ["alerts/of_before.json", "alerts/slow.json"])
    monkeypatch.setattr(sys, "argv", ["monitoring"])
    monitoring.main()
    assert monitoring.outdated() == []


def parsed(kind, path):
    """A file as Google's type; it refuses fields and values that the type hasn't."""
    return kind.from_json(path.read_text(), ignore_unknown_fields=False)


def test_a_field_that_googles_type_has_not_is_refused(tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"combiner": "OR", "colour": "red"}')
    with pytest.raises(Exception, match="colour"):
        parsed(AlertPolicy, wrong)


@pytest.mark.parametrize("path", METRICS, ids=lambda path: path.stem)
def test_a_metric_is_of_googles_type(path):
    metric = parsed(LogMetric, path)
    assert metric.name == path.stem
    assert re.fullmatch(r"\w{1,100}", metric.name)
    assert len(metric.filter) < 20_000
    labels = {label.key for label in metric.metric_descriptor.labels}
    assert labels == set(metric.label_extractors)


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_is_of_googles_type_and_looks_at_a_metric_that_exists(path):
    policy = parsed(AlertPolicy, path)
    assert dict(policy.user_labels) == {"chatsync": path.stem}
    [condition] = policy.conditions
    threshold = condition.condition_threshold
    [aggregation] = threshold.aggregations
    assert aggregation.alignment_period.total_seconds() <= monitoring.LONGEST_WINDOW
    seconds = threshold.duration.total_seconds()
    assert seconds % 60 == 0
    # What counts while no data comes can be said of a condition that lasts.
    assert seconds >= 60 or not threshold.evaluation_missing_data
    exist_in(threshold.filter, aggregation.group_by_fields)


def exist_in(filters: str, fields) -> None:
    """Whether the log-based metric of a filter exists, with the labels that are counted apart."""
    for name in re.findall(r'metric.type="logging.googleapis.com/user/(\w+)"', filters):
        metric = parsed(LogMetric, FOLDER / "metrics" / f"{name}.json")
        labels = {f"metric.label.{label.key}" for label in metric.metric_descriptor.labels}
        assert set(fields) <= labels | {"resource.label.service_name"}


def test_the_dashboard_is_of_googles_type_and_shows_every_metric():
    dashboard = parsed(Dashboard, FOLDER / "dashboard.json")
    tiles = dashboard.mosaic_layout.tiles
    filters = []
    for tile in tiles:
        assert tile.x_pos + tile.width <= dashboard.mosaic_layout.columns
        for data in tile.widget.xy_chart.data_sets:
            query = data.time_series_query.time_series_filter
            exist_in(query.filter, query.aggregation.group_by_fields)
            filters.append(query.filter)
    shown = re.findall(r"/user/(\w+)", " ".join(filters))
    assert sorted(shown) == [path.stem for path in METRICS]
    assert len({(tile.x_pos, tile.y_pos) for tile in tiles}) == len(tiles)


def test_they_name_the_functions_as_cloud_run_does():
    lower = {name.lower() for name in deployed_functions()}
    dashboard = (FOLDER / "dashboard.json").read_text()
    named = set(
        re.findall(r'\\"([a-z]+)\\"', " ".join(re.findall(r"name=one_of\(.*?\)", dashboard)))
    )
    assert named == lower
    slow = re.findall(r'\\"([a-z]+)\\"[,)]', (FOLDER / "alerts" / "slow.json").read_text())
    assert set(slow) == {name.lower() for name in callables()}


# The lines that they look for


def matches(filters: str, line: dict[str, object]) -> bool:
    """Whether Cloud Logging would find a line of a function by a filter of ours."""
    resource, *terms = filters.split(" AND ")
    assert resource == 'resource.type="cloud_run_revision"'
    compared = {"=": operator.eq, ">": operator.gt, ">=": operator.ge}
    for term in terms:
        field, compare, value = re.fullmatch(r"jsonPayload\.(\w+)(=|>=|>)(.+)", term).groups()
        wanted = re.findall(r'"(.*?)"', value) or [int(value)]
        if field not in line or not any(compared[compare](line[field], one) for one in wanted):
            return False
    return True


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_happens_is_found_by_the_filters_of_its_alerts(situation, world, lines):  # noqa: F811
    event, happen = SITUATIONS[situation]
    happen(world)
    logged = lines()
    for alert in OF_LOG:
        stated = parsed(LogMetric, FOLDER / "metrics" / f"{alert.metric}.json")
        found = [line for line in logged if matches(stated.filter, line)]
        assert bool(found) == (event in alert.events), alert.name
        assert all(label in line for label in stated.label_extractors for line in found)


@pytest.mark.parametrize(
    ("alert", "line", "is_found"),
    [
        ("out_of_sync", {"event": "chatsync.audit_done", "findings": 1}, True),
        ("out_of_sync", {"event": "chatsync.audit_done", "findings": 0}, False),
        ("paused", {"event": "chatsync.paused", "minutes": 60}, True),
        ("paused", {"event": "chatsync.paused", "minutes": 59}, False),
        ("paused", {"event": "chatsync.parked", "minutes": 60}, False),
        ("parked", {"event": "parked"}, False),
    ],
)
def test_other_lines_are_not_found(alert, line, is_found):
    path = FOLDER / "metrics" / f"chatsync_{alert}.json"
    assert matches(parsed(LogMetric, path).filter, line) is is_found


def test_every_event_has_an_alert_and_every_alert_a_name_of_its_own():
    assert {event for alert in ALERTS for event in alert.events} == set(LogEvent)
    assert len({alert.id for alert in ALERTS}) == len(ALERTS) == len(POLICIES)


# The import


@pytest.fixture
def run_import(tmp_path, monkeypatch):
    """Run monitoring/import with a stand-in for gcloud; returns what ended."""
    (tmp_path / "bin").mkdir()
    stand_in = Path(__file__).with_name("gcloud_stand_in.py").read_text()
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.write_text(f"#!{sys.executable}\n{stand_in}")
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(tmp_path))
    monkeypatch.setenv("PAUSE_SECONDS", "0")
    folder = shutil.copytree(FOLDER, tmp_path / "monitoring")
    for path in [*folder.glob("metrics/*.json"), *folder.glob("alerts/*.json")]:
        if not re.search("flood|parked|no_audit", path.name):
            path.unlink()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "import"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    return run


CHANNEL = "projects/a-project/notificationChannels/7"


def kept(tmp_path, kind: str) -> dict[str, dict[str, object]]:
    return json.loads((tmp_path / f"{kind}.json").read_text())


def test_it_creates_everything(run_import, tmp_path):
    ended = run_import("a-project", CHANNEL)
    assert (ended.returncode, ended.stderr) == (0, "")
    metrics = kept(tmp_path, "metrics")
    assert sorted(metrics) == ["chatsync_flood", "chatsync_no_audit", "chatsync_parked"]
    policies = kept(tmp_path, "policies").values()
    assert [one["userLabels"]["chatsync"] for one in policies] == ["flood", "no_audit", "parked"]
    assert all(one["channels"] == [CHANNEL] for one in policies)
    [dashboard] = kept(tmp_path, "dashboards").values()
    assert dashboard["name"] == "projects/a-project/dashboards/chatsync"


def test_again_it_brings_all_up_to_date_and_keeps_what_people_chose(run_import, tmp_path):
    run_import("a-project", CHANNEL)
    policies = kept(tmp_path, "policies")
    before, *_ = policies.values()
    changed = {**before, "severity": "WARNING", "enabled": False, "channels": [CHANNEL, "c/8"]}
    policies[before["name"]] = changed
    (tmp_path / "policies.json").write_text(json.dumps(policies))
    ended = run_import("a-project")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(kept(tmp_path, "policies")) == 3
    after = kept(tmp_path, "policies")[before["name"]]
    assert after == {**before, "enabled": False, "channels": [CHANNEL, "c/8"]}
    [dashboard] = kept(tmp_path, "dashboards").values()
    assert dashboard["etag"].endswith("update")


def test_it_waits_until_monitoring_knows_a_new_metric(run_import, tmp_path):
    (tmp_path / "unknown").touch()
    ended = run_import("a-project")
    assert ended.returncode == 0
    assert "Cannot find metric" in ended.stderr
    assert len(kept(tmp_path, "policies")) == 3


def test_it_uses_the_policies_of_an_older_gcloud(run_import, tmp_path):
    (tmp_path / "old").touch()
    assert run_import("a-project").returncode == 0
    assert len(kept(tmp_path, "policies")) == 3


def test_it_stops_where_it_may_not_write(run_import):
    ended = run_import("anothers-project")
    assert ended.returncode == 1
    assert "PERMISSION_DENIED" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], [""], ["--help"], ["A Project"], ["a-project", "7"], ["a-project", CHANNEL, "more"]],
)
def test_other_arguments_change_nothing_and_it_says_how_it_is_called(
    run_import, tmp_path, arguments
):
    ended = run_import(*arguments)
    assert ended.returncode == 2
    assert "monitoring/import PROJECT [CHANNEL]" in ended.stderr
    assert "one word" not in ended.stderr
    assert not (tmp_path / "calls").exists()
