"""Enqueuing tasks: accepted, there already, or not possible; never for long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import firebase_admin
import pytest

from chatsync import side_by_side
from chatsync.clients import tasks as tasks_module
from chatsync.clients.tasks import TaskQueues
from chatsync.errors import FirebaseUnavailable


class Queue:
    """Answers as the Tasks emulator does."""

    def __init__(self) -> None:
        self.status, self.tasks, self.hangs = 200, [], threading.Event()
        self.silent = False
        queue = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                queue.tasks.append((self.path, body["task"]))
                if queue.silent:
                    queue.hangs.wait(30)
                answer = json.dumps({"task": body["task"]}).encode()
                self.send_response(queue.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True


@pytest.fixture
def queue(monkeypatch) -> Iterator[Queue]:
    queue = Queue()
    threading.Thread(target=queue.server.serve_forever, args=(0.02,), daemon=True).start()
    host = f"127.0.0.1:{queue.server.server_address[1]}"
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", host)
    yield queue
    queue.hangs.set()
    queue.server.shutdown()
    queue.server.server_close()


@pytest.fixture
def queues(queue: Queue) -> Iterator[TaskQueues]:
    app = firebase_admin.initialize_app(options={"projectId": "demo-chatsync"}, name="tasks")
    yield TaskQueues(app, "asia-south1")
    firebase_admin.delete_app(app)


def enqueue(queues: TaskQueues, task_id: str = "wake-1") -> bool:
    return queues.enqueue("drainRepairs", {"notBefore": 1}, task_id, 1_800_000_000.0)


def test_a_task_carries_its_data_its_id_and_its_time(queues, queue):
    assert enqueue(queues)
    [(path, task)] = queue.tasks
    place = "projects/demo-chatsync/locations/asia-south1/queues/drainRepairs/tasks"
    assert path == f"/{place}"
    assert task["name"] == f"{place}/wake-1"
    assert task["scheduleTime"].startswith("2027-01-15T08:00:00")
    assert task["dispatchDeadline"] == "120s"


def test_a_task_that_exists_is_told(queues, queue):
    queue.status = 409
    assert enqueue(queues) is False


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_refusal_is_a_temporary_error(queues, queue, status):
    queue.status = status
    with pytest.raises(FirebaseUnavailable):
        enqueue(queues)


def test_a_queue_that_hangs_is_not_waited_for_long(queues, queue, monkeypatch):
    monkeypatch.setattr(tasks_module, "ENQUEUE_SECONDS", 0.2)
    queue.silent = True
    started = time.monotonic()
    for _ in range(6):  # more than it has threads
        with pytest.raises(FirebaseUnavailable):
            enqueue(queues)
    assert time.monotonic() - started < 6


def test_other_calls_go_on_while_a_queue_hangs(queues, queue, monkeypatch):
    monkeypatch.setattr(tasks_module, "ENQUEUE_SECONDS", 0.05)
    monkeypatch.setattr(side_by_side, "_threads", ThreadPoolExecutor(max_workers=1))
    queue.silent = True
    with pytest.raises(FirebaseUnavailable):
        enqueue(queues)
    assert side_by_side.result(side_by_side.begin(lambda: 7), time.monotonic() + 5) == 7
