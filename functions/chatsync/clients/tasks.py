"""Task queues: they call functions later, and again until they succeed (Cloud Tasks)."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import firebase_admin
from firebase_admin import exceptions, functions
from google.auth.exceptions import GoogleAuthError

from ..errors import FirebaseUnavailable
from ..side_by_side import result

ENQUEUE_SECONDS = 1.0
"""A webhook that writes to the outbox may wait for this twice."""

_DISPATCH_DEADLINE_SECONDS = 120


class TaskQueues:
    """The queues of this project's task functions; each is named like its function."""

    def __init__(self, app: firebase_admin.App, region: str) -> None:
        self._app = app
        self._region = region
        # Its own threads: the SDK waits for two minutes, and must not delay reads of Firestore.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="tasks")

    def enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        """Let the queue call a task function with ``data`` at the Unix time ``at``, or later.

        False if a task of this id exists, or has existed: ids stay used long after the task has
        ended. The Tasks emulator calls at once, whatever ``at`` says. Raises FirebaseUnavailable.
        """
        enqueuing = self._threads.submit(self._enqueue, function, data, task_id, at)
        return result(enqueuing, time.monotonic() + ENQUEUE_SECONDS)

    def _enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        options = functions.TaskOptions(
            task_id=task_id,
            schedule_time=datetime.fromtimestamp(at, UTC),
            dispatch_deadline_seconds=_DISPATCH_DEADLINE_SECONDS,
        )
        try:
            place = f"locations/{self._region}/functions/{function}"
            functions.task_queue(place, app=self._app).enqueue({"data": data}, options)
        except (exceptions.AlreadyExistsError, exceptions.ConflictError):
            return False
        except (exceptions.FirebaseError, GoogleAuthError, ValueError) as error:
            if isinstance(error, ValueError) and "CLOUD_TASKS_EMULATOR_HOST" in os.environ:
                return True  # accepted: the SDK 7.7.0 can't read the emulator's answer
            problem = type(error).__name__
            if isinstance(error, exceptions.PermissionDeniedError):
                problem += ", `doctor` prints the role that the functions' account lacks"
            raise FirebaseUnavailable(f"no task for {function}: {problem}") from error
        return True
