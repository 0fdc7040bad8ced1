"""The socket, and the server that runs until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from workbench.errors import WorkbenchError

BACKLOG = 128  # connections that wait to be accepted


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already: who connects waits until the model is there. Port 0: any that is free.

    Raises `WorkbenchError` if the port is in use, or the address is not one of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise WorkbenchError(
            f"There is no address for the host {host!r}.", "Leave out --host for this machine."
        ) from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except PermissionError:
        listening.close()
        raise WorkbenchError(f"The port {port} is not for everyone.", "Give one from 1024 on with --port.") from None
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise WorkbenchError(
                f"The port {port} of {host} is in use.", "Give another with --port; --port 0 takes one that is free."
            ) from None
        raise WorkbenchError(
            f"The host {host} cannot be served: {error.strerror}.", "Leave out --host for this machine."
        ) from None
    return listening


def reaches_others(listening: socket.socket) -> bool:
    """Whether other machines can connect to it."""
    return not ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


class Server(uvicorn.Server):
    """Ends at once on Ctrl-C, SIGTERM and SIGHUP, cutting what is being written."""

    def __init__(self, application: ASGIApp, *, debug: bool = False):
        config = uvicorn.Config(
            application, access_log=False, backlog=BACKLOG, lifespan="off", log_config=None, proxy_headers=False,
            server_header=False, timeout_graceful_shutdown=0, ws="none",
        )  # fmt: skip
        logging.getLogger("uvicorn.error").setLevel(logging.INFO if debug else logging.CRITICAL)
        super().__init__(config)
        self.ended_by = 0  # a signal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.ended_by = sig
        self.should_exit = True

    def answer(self, listening: socket.socket) -> int:
        """Serve until a signal comes; answers with its number."""
        hang_up = signal.getsignal(signal.SIGHUP)
        if hang_up is not signal.SIG_IGN:  # as under nohup
            signal.signal(signal.SIGHUP, self.handle_exit)
        try:
            asyncio.run(self.serve(sockets=[listening]))
        finally:
            signal.signal(signal.SIGHUP, hang_up)
        return self.ended_by
