"""Runs the local Stream server until it is interrupted or terminated."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
import warnings

from aiohttp import web
from jwt import InsecureKeyLengthWarning

from .credentials import API_KEY, API_SECRET
from .data import Data, DataError
from .seed import SeedError, seed
from .server import STATE, create_app
from .state import State

# On this port, Stream's JS SDK takes the server for a local one of Stream's own developers, whose
# WebSockets are elsewhere.
JS_PORT, JS_WEBSOCKET_PORT = 3030, 8800


def main(app: web.Application) -> int:
    parser = argparse.ArgumentParser(prog="python -m stream_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3030, help="0 takes any free port")
    parser.add_argument(
        "--websocket-port",
        type=int,
        help=f"also listen here; default {JS_WEBSOCKET_PORT} if the port is {JS_PORT}, else none",
    )
    parser.add_argument("--data", metavar="FILE", help="keep everything in this file; see data.py")
    parser.add_argument(
        "--seed", metavar="FILE", help="fill the server with this file if it is empty; see seed.py"
    )
    parser.add_argument("--parent", type=int, help="the process that this one ends with")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    # The well-known local secret is short, and protects nothing.
    warnings.simplefilter("ignore", InsecureKeyLengthWarning)
    websocket_port = arguments.websocket_port
    if websocket_port is None and arguments.port == JS_PORT:
        websocket_port = JS_WEBSOCKET_PORT
    place = arguments.host, arguments.port, websocket_port
    files = arguments.data, arguments.seed
    return asyncio.run(fill_and_serve(app, files, place, arguments.parent))


async def fill_and_serve(
    app: web.Application,
    files: tuple[str | None, str | None],
    place: tuple[str, int, int | None],
    parent: int | None,
) -> int:
    try:
        fill(app[STATE], *files)
    except (DataError, SeedError) as error:
        print(error, file=sys.stderr)
        return 1
    return await serve(app, *place, parent)


def fill(state: State, data_file: str | None, seed_file: str | None) -> None:
    """Raises DataError or SeedError; then nothing of the seed is in the data."""
    if data_file:
        state.data = Data(data_file)
        state.data.load(state)
    if seed_file and not state.users:
        seed(state, seed_file)
        state.save()


async def serve(
    app: web.Application, host: str, port: int, websocket_port: int | None, parent: int | None
) -> int:
    stopped = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    # Calls that a fault keeps waiting must not hold up the end.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "the port is already in use" if is_taken else error
        print(f"Cannot listen on {host}:{port}: {reason}", file=sys.stderr)
        await runner.cleanup()
        return 1
    port = runner.addresses[0][1]
    if websocket_port is not None:
        try:
            await web.TCPSite(runner, host, websocket_port).start()
        except (OSError, OverflowError) as error:
            # All but the live connections of one SDK works without it.
            print(f"Cannot listen on {host}:{websocket_port} as well: {error}", file=sys.stderr)
    print(
        f"Local Stream server ready on http://{host}:{port} with its inspector at "
        f"http://{host}:{port}/_control/ (key {API_KEY}, secret {API_SECRET})",
        flush=True,
    )
    # A killed parent ends nobody, so look whether this process has become an orphan.
    while not stopped.is_set() and parent in (None, os.getppid()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), timeout=0.5)
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main(create_app()))
