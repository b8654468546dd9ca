"""Several serving processes, forked when everything is imported, so that they hold one copy of it.

What is served is the application's; what goes on inside one process is uvicorn's.
"""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.context import ForkProcess
from threading import Thread

import uvicorn

CAN_FORK = sys.platform == "linux"
"""Elsewhere system libraries may have started threads that a fork leaves behind half-way."""

CANNOT_START = 3
"""The status with which uvicorn ends where the application cannot start."""

PAUSE_SECONDS = 0.5
"""Before another process takes the place of one that ended, so that one that always ends does not keep a core busy."""

WATCHED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGCHLD} if CAN_FORK else ())
log = logging.getLogger("tagroar")


def serve_forked(config: uvicorn.Config) -> None:
    """Serves by `config.workers` processes until SIGINT or SIGTERM, then has them finish what is under way.

    One that ends by itself is replaced; where one cannot start, all end and this process exits with status 3, as
    uvicorn does. To be called in the main thread, with no other thread of Python and no store open: connections and
    locks are not to be forked.
    """
    config.load()
    listening = config.bind_socket()
    gc.freeze()  # a collection writes into every object that it looks at, and a page that is written is copied
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)  # they wait for `sigwait`, so none comes between two steps
    serving: list[ForkProcess] = []
    try:
        while len(serving) < config.workers:
            serving.append(_started(config, listening))
        while signal.sigwait(WATCHED) == signal.SIGCHLD:
            for place, process in enumerate(serving):
                if not process.is_alive():
                    if process.exitcode == CANNOT_START:
                        sys.exit(CANNOT_START)
                    log.warning("serving process %d ended with %s; another starts", process.pid, process.exitcode)
                    time.sleep(PAUSE_SECONDS)
                    serving[place] = _started(config, listening)
    finally:
        listening.close()
        for process in serving:
            process.terminate()
        for process in serving:
            process.join()


def _started(config: uvicorn.Config, listening: socket.socket) -> ForkProcess:
    """Another process that serves."""
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(config, listening))
    process.start()
    return process


def _serve(config: uvicorn.Config, listening: socket.socket) -> None:
    """What a forked process does, from its first moment to its end."""
    Thread(target=_end_with_parent, name="tagroar-parent", daemon=True).start()
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # a terminal's Ctrl-C comes to every process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        server.run([listening])
    if not server.started:
        sys.exit(CANNOT_START)


def _end_with_parent() -> None:
    """Stops this process when its parent is gone, however that came about; without it nobody could stop it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
