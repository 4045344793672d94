"""The driver's own page of a running job: a small HTTP server in threads.

On this machine only by default; any other address needs the token that is in the printed URL. Nothing but the page and
its state can be asked for, and nothing can be changed.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from ..errors import ConfigError
from .base import Observer
from .page import page_html, security_policy
from .state import RunState

__all__ = ["Web", "parse_address"]

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 64
_LEAVING = 16  # that gave way to others, and are not gone yet
_HOLD = 15.0  # seconds a request for news is held
_LINGER = 2.0  # seconds in which pages that are looked at get to know how the run ended
_LOOKED_AT = 5.0  # seconds after its last request that a page counts as looked at
_VERSION = re.compile("[0-9]{1,15}")


def parse_address(text: str) -> Tuple[str, int]:
    """(host, port) of ``-web``: ``PORT``, ``ADDRESS:PORT`` or ``[IPV6]:PORT``; the host defaults to 127.0.0.1.

    Raises
    ------
    ConfigError
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (colon and not host) or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"-web {text}: give PORT or ADDRESS:PORT, with a port from 0 (any) to 65535")
    return host or "127.0.0.1", int(port)


class Web(Observer):
    """Serves the page from when it is made until the run is over.

    Parameters
    ----------
    address : as ``-web`` has it
    state : what the page shows
    name : the driver's name for other machines, for the URL when the address is that of all interfaces

    Raises
    ------
    ConfigError
        When it cannot listen there.
    """

    def __init__(self, address: str, state: RunState, name: str = "") -> None:
        host, port = parse_address(address)
        try:
            family, _, _, _, bound = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except OSError as e:
            raise ConfigError(f"-web {address}: '{host}' is no address of this machine ({e.strerror})") from None
        self.token = "" if _is_loopback(str(bound[0])) else secrets.token_urlsafe(24)
        try:
            self._server = _Server(family, bound[:2], PageState(state, self.token))
        except OSError as e:
            raise ConfigError(
                f"-web {address}: cannot listen on port {port} of {host} ({e.strerror}): "
                "name another port, or none for any that is free"
            ) from None
        shown = name if name and ipaddress.ip_address(str(bound[0])).is_unspecified else host
        shown = f"[{shown}]" if ":" in shown else shown
        port = self._server.server_address[1]
        #: Where to look.
        self.url = f"http://{shown}:{port}/" + (f"?token={self.token}" if self.token else "")
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="caffeonspark-web", daemon=True
        )
        self._thread.start()
        # also with -quiet: nobody would find the page
        _log.warning("the run's page: %s", self.url)

    def close(self) -> None:
        """Let pages that are looked at have the end of the run, and stop."""
        self._server.desk.close(_LINGER)
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


class PageState:
    """What handlers share: the state as bytes, who asked for it, and the wait for news."""

    def __init__(self, state: RunState, token: str) -> None:
        self._state = state
        self._token = token
        self._lock = threading.Condition()
        self._cached: Tuple[int, float, bytes] = (-1, 0.0, b"")  # version, when, JSON
        self._pages: Dict[str, Tuple[float, int]] = {}  # page: when it was answered last, with which version
        self._closing = False

    def admits(self, host: str, token: str) -> str:
        """Why a request is refused; "" if it is not.

        Without a token the Host has to be this machine's own name: else a foreign page, in a browser on this machine,
        could have its host name lead here (DNS rebinding) and read what is served.
        """
        if self._token:
            right = hmac.compare_digest(token.encode(), self._token.encode())
            return "" if right else "the address needs its token: open the one the driver printed\n"
        with contextlib.suppress(ValueError):  # neither a name of this machine nor an address
            name = urlsplit(f"//{host}").hostname or ""
            if name == "localhost" or _is_loopback(name):
                return ""
        return "open this page as http://localhost:PORT or http://127.0.0.1:PORT\n"

    def json(self) -> Tuple[int, bytes]:
        """The state's version and JSON, made again at most twice a second."""
        with self._lock:
            version, when, content = self._cached
            age = time.monotonic() - when
            if not content or age > 0.5 or (self._state.over and version != self._state.version):
                page = {**self._state.page(), "live": True}
                content = json.dumps(page, separators=(",", ":")).encode()
                version = page["version"]
                self._cached = version, time.monotonic(), content
            return version, content

    def news(self, page: str, seen: int, wanted: Callable[[], bool]) -> bytes:
        """The state, as soon as it is another one than the version that the page has seen, or is not ``wanted``."""
        deadline = time.monotonic() + _HOLD
        with self._lock:
            self._note(page, seen)
        while not self._closing and self._state.version == seen and time.monotonic() < deadline and wanted():
            time.sleep(0.1)
        version, content = self.json()
        with self._lock:
            self._note(page, version)
        return content

    def _note(self, page: str, version: int) -> None:
        self._pages.pop(page, None)
        self._pages[page] = time.monotonic(), version
        while len(self._pages) > _MOST_CONNECTIONS:
            self._pages.pop(next(iter(self._pages)))

    def close(self, linger: float) -> None:
        self._closing = True
        deadline = time.monotonic() + linger
        while time.monotonic() < deadline and self._uninformed():
            time.sleep(0.05)
        time.sleep(0.05)  # the last answer is being written

    def _uninformed(self) -> bool:
        now = time.monotonic()
        with self._lock:
            return any(
                now - when < _LOOKED_AT + _HOLD and version != self._state.version
                for when, version in self._pages.values()
            )


class _Server(socketserver.ThreadingTCPServer):
    """Threads end with the process; their number is bounded.

    Where there is no room for another connection, one that waits for its next request gives way to it, or else the
    one that was answered last the longest ago: whoever opens many and says nothing keeps nobody out.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, family: int, address: Any, desk: PageState) -> None:
        self.address_family = family
        self.desk = desk
        self._free = threading.Semaphore(_MOST_CONNECTIONS + _LEAVING)
        self._lock = threading.Lock()
        self._open: Dict[Any, bool] = {}  # sockets, in the order of their last requests: whether one is being answered
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= _MOST_CONNECTIONS:
                self._hang_up(next((sock for sock, answering in self._open.items() if not answering), None))
        if not self._free.acquire(timeout=1.0):  # those that gave way are still on their way out
            self.shutdown_request(request)
            return
        with self._lock:
            self._open[request] = False
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)
            self._free.release()

    def note(self, request: Any, answering: bool) -> None:
        """A request on this connection is being answered, or was."""
        with self._lock:
            if self._open.pop(request, None) is not None:
                self._open[request] = answering

    def has(self, request: Any) -> bool:
        """Whether this connection is still wanted."""
        return request in self._open

    def _hang_up(self, sock: Optional[Any]) -> None:
        sock = next(iter(self._open)) if sock is None else sock
        del self._open[sock]
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """End the connections that browsers keep open."""
        with self._lock:
            while self._open:
                self._hang_up(None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "caffeonspark"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # else what cannot be read would be answered without a status
    timeout = 30.0  # a connection on which nothing comes

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        self.server.note(self.connection, answering=True)
        try:
            self._respond(body)
        finally:
            self.server.note(self.connection, answering=False)

    def _respond(self, body: bool) -> None:
        desk = self.server.desk
        try:
            url = urlsplit(self.path)
        except ValueError:
            self.send_error(400)
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        refused = desk.admits(self.headers.get("Host", ""), query.get("token", ""))
        if refused:
            self._send(403, "text/plain; charset=utf-8", refused.encode(), body)
        elif url.path == "/":
            self._send(200, "text/html; charset=utf-8", page_html(desk.json()[1].decode()).encode(), body)
        elif url.path == "/state":
            after = query.get("after", "")
            if _VERSION.fullmatch(after):
                here = self.connection
                content = desk.news(query.get("page", "")[:32], int(after), lambda: self.server.has(here))
            else:
                content = desk.json()[1]
            self._send(200, "application/json", content, body)
        else:
            self._send(404, "text/plain; charset=utf-8", b"there is only / and /state\n", body)

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """What cannot be read gets a plain word, and nothing of it back."""
        self.close_connection = True
        text = f"{int(code)} {self.responses.get(code, ('cannot be answered', ''))[0]}\n"
        self._send(int(code), "text/plain; charset=utf-8", text.encode(), self.command != "HEAD")

    def _send(self, status: int, kind: str, content: bytes, body: bool) -> None:
        self.send_response(status)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", security_policy())
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Optional[Any]) -> None:
        """Requests are not worth a line."""
