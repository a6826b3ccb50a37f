"""The server: a socket of this machine only, and the address that leads to the pages."""

from __future__ import annotations

import logging
import os
import socket
import sys
import webbrowser
from contextlib import closing
from threading import Thread

import uvicorn

from dobbin_like.browse.app import Browser
from dobbin_like.browse.guard import Guard, new_token
from dobbin_like.browse.shown import Shown
from dobbin_like.cli.common import show
from dobbin_like.cli.text import safe

HOST = "127.0.0.1"


def listening(port: int) -> socket.socket:
    """Return a socket at a port of this machine; 0: any that is free. OSError: it is taken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def serve(shown: Shown, bound: socket.socket, *, open_browser: bool, as_json: bool) -> None:
    """Show a database until the process is told to end. Raises KeyboardInterrupt after Ctrl-C."""
    port = bound.getsockname()[1]
    token = new_token()
    origin = f"http://{HOST}:{port}"
    servers: list[uvicorn.Server] = []

    def is_closing() -> bool:
        ends = bool(servers[0].should_exit)
        if ends:  # What is cut off now, of a browser that does not read, is nobody's trouble.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        return ends

    browser = Browser(shown, f"/{token}", is_closing)
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    guard = Guard(browser.app(), token, hosts)
    config = uvicorn.Config(
        guard,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    servers.append(uvicorn.Server(config))
    address = f"{origin}/{token}/"
    text = (
        f"{safe(shown.path)} is shown at\n{address}\n"
        "Ctrl-C ends it. The address is the key: anybody who has it can read the database."
    )
    show(text, {"path": shown.path, "address": address}, as_json=as_json)
    if open_browser and has_display():
        # Not the token itself: others can read the command line of a browser.
        Thread(target=webbrowser.open, args=(f"{origin}/{guard.once}",), daemon=True).start()
    with closing(bound):
        servers[0].run(sockets=[bound])


def has_display() -> bool:
    """Return whether a browser has where to appear: one in the terminal would take it away."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
