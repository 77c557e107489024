#!/usr/bin/env python
"""Stands in for gcloud: keeps what it is given in the folder STATE, and refuses unknown flags.

The flags are those of gcloud 528. A metric is unknown to Monitoring while STATE/unknown exists.
"""

import json
import os
import sys
from pathlib import Path

KNOWN = {
    "logging metrics describe": {"--project"},
    "logging metrics create": {"--project", "--config-from-file"},
    "logging metrics update": {"--project", "--config-from-file"},
    "monitoring policies list": {"--project", "--format"},
    "monitoring policies create": {"--project", "--policy-from-file", "--notification-channels"},
    "monitoring policies update": {
        *("--project", "--policy-from-file", "--set-notification-channels"),
        *("--enabled", "--no-enabled"),
    },
    "monitoring dashboards describe": {"--project", "--format"},
    "monitoring dashboards create": {"--project", "--config", "--format"},
    "monitoring dashboards update": {"--project", "--config", "--format"},
}
SWITCHES = {"--enabled", "--no-enabled"}

state = Path(os.environ["STATE"])
with (state / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
words, arguments, flags = [], list(sys.argv[1:]), {}
while arguments:
    word = arguments.pop(0)
    if not word.startswith("--"):
        words.append(word)
    else:
        flags[word] = "" if word in SWITCHES else arguments.pop(0)
if words[-1] == "list" and (state / "old").exists() and words[0] != "alpha":
    sys.exit("ERROR: (gcloud.monitoring) Invalid choice: 'policies'.")
if words[0] == "alpha":
    words.pop(0)
if "--help" in sys.argv:
    sys.exit()
command, name = " ".join(words[:3]), (words[3:] or [""])[0]
if unknown := set(flags) - KNOWN[command]:
    sys.exit(f"ERROR: unrecognized arguments: {unknown}")
if flags["--project"] != "a-project":
    sys.exit("ERROR: PERMISSION_DENIED")

kind, action = words[1:3]
stored = state / f"{kind}.json"
objects = json.loads(stored.read_text()) if stored.exists() else {}
file = flags.get("--config-from-file") or flags.get("--policy-from-file")
text = Path(file).read_text() if file else flags.get("--config", "null")
given = json.loads(text)
if action in ("describe", "update") and name not in objects:
    sys.exit(f"ERROR: NOT_FOUND: {name}")
if kind == "policies" and action == "list":
    for policy in objects.values():
        channels = ",".join(policy["channels"])
        line = [policy["userLabels"]["chatsync"], policy["name"], policy["enabled"], channels]
        print(*line, sep="|")
elif action == "describe":
    print(objects[name].get("etag", ""))
else:
    if kind == "policies" and (state / "unknown").exists():
        (state / "unknown").unlink()
        sys.exit("ERROR: NOT_FOUND: Cannot find metric that matches type = ...")
    if kind == "policies":
        name = name or f"projects/a-project/alertPolicies/{len(objects)}"
        told = flags.get("--notification-channels") or flags.get("--set-notification-channels")
        enabled = "--no-enabled" not in flags
        given |= {"name": name, "enabled": enabled, "channels": (told or "").split(",")}
    if kind == "dashboards":
        name = given["name"].rpartition("/")[2]
        if action == "update" and given["etag"] != objects[name]["etag"]:
            sys.exit("ERROR: ABORTED: etag")
        given["etag"] = f"etag-{len(text)}-{action}"
    objects[name] = given
    stored.write_text(json.dumps(objects))
