"""Task queues: functions called later, and again until they succeed (Cloud Tasks)."""

from datetime import UTC, datetime
from typing import Any

import firebase_admin
from firebase_admin import exceptions, functions

from .errors import FirebaseUnavailable

_DISPATCH_DEADLINE_SECONDS = 120


class TaskQueues:
    """The queues of this project's task functions; each is named like its function."""

    def __init__(self, app: firebase_admin.App, region: str) -> None:
        self._app = app
        self._region = region

    def enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        """Have a task function called with ``data`` at the Unix time ``at``, or later.

        False if a task of this id exists, or has existed: ids stay used long after the task is
        done. The Tasks emulator calls at once, whatever ``at`` says. Raises FirebaseUnavailable.
        """
        queue = functions.task_queue(
            f"locations/{self._region}/functions/{function}", app=self._app
        )
        options = functions.TaskOptions(
            task_id=task_id,
            schedule_time=datetime.fromtimestamp(at, UTC),
            dispatch_deadline_seconds=_DISPATCH_DEADLINE_SECONDS,
        )
        try:
            queue.enqueue({"data": data}, options)
        except (exceptions.AlreadyExistsError, exceptions.ConflictError):
            return False
        except (exceptions.FirebaseError, ValueError) as error:
            raise FirebaseUnavailable(f"no task for {function}: {type(error).__name__}") from error
        return True
