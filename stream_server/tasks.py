"""The tasks that long calls begin; here they are done at once."""

from __future__ import annotations

import uuid

from . import timestamps
from .errors import not_found
from .state import Json, State


def new_task(state: State, result: Json) -> Json:
    now = timestamps.now()
    task_id = str(uuid.uuid4())
    state.tasks[task_id] = {
        "task_id": task_id,
        "created_at": now,
        "updated_at": now,
        "result": result,
    }
    return {"task_id": task_id}


def get_task(state: State, params: Json, body: Json) -> Json:
    task = state.tasks.get(params["task_id"])
    if task is None:
        raise not_found(f"Can't find task with id {params['task_id']}")
    status = state.switches["task_status"]
    answer = {**task, "status": status}
    if status != "completed":
        del answer["result"]
    if status == "failed":
        answer["error"] = {"type": "local", "description": "the switch task_status says so"}
    return answer
