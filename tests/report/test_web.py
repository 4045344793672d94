"""The page's server: who may see the page, and when news come."""

import http.client
import json
import re
import socket
import threading
import time

import pytest

from caffeonspark.errors import ConfigError
from caffeonspark.report.state import RunState
from caffeonspark.report.web import Web, parse_address
from tests.support.run_records import end, iteration, start, state_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:81", ("::1", 81)),
        ("localhost:82", ("localhost", 82)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["x", ":80", "1.2.3.4", "host:", "host:70000", "-1", "127.0.0.1:8o"])
def test_wrong_addresses(text):
    with pytest.raises(ConfigError, match="give PORT or ADDRESS:PORT"):
        parse_address(text)


@pytest.fixture
def web(capsys):
    """Makes servers over a state, and closes them."""
    made = []

    def make(address, state, name=""):
        made.append(Web(address, state, name))
        assert made[-1].url in capsys.readouterr().err
        return made[-1]

    yield make
    for server in made:
        server.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "caffeonspark-web"]


def ask(server, path, method="GET", **headers):
    port = server._server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def test_only_the_page_and_its_state_can_be_asked_for(web):
    server = web("0", state_of(start(), iteration(0)))
    status, content, headers = ask(server, "/")
    assert status == 200
    assert b'id="state"' in content
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    status, content, _ = ask(server, "/state")
    assert json.loads(content)["iteration"] == 1
    assert ask(server, "/", "HEAD")[:2] == (200, b"")
    assert ask(server, "/etc/passwd")[0] == 404
    assert ask(server, "/../../etc/passwd")[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, "/", method)[0] == 501


def test_foreign_host_names_are_refused_on_loopback(web):
    server = web("127.0.0.1:0", state_of(start()))
    for host in ("localhost", "localhost:9999", "127.0.0.1", "127.0.0.2:80", "[::1]:80"):
        assert ask(server, "/state", Host=host)[0] == 200
    for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1", "[", "", "a b"):
        status, content, _ = ask(server, "/state", Host=host)
        assert status == 403
        assert b"http://localhost:PORT" in content


def test_other_addresses_need_the_token(web):
    server = web("0.0.0.0:0", state_of(start()), name="driver.example")
    assert re.fullmatch(r"http://driver\.example:\d+/\?token=[\w-]{32}", server.url)
    token = server.url.partition("token=")[2]
    for path in ("/", "/state", "/state?after=1", f"/?token={token[:-1]}", f"/?token={token}x", "/?token=", "/nothing"):
        status, content, _ = ask(server, path, Host="driver.example")
        assert status == 403
        assert b"needs its token" in content
        assert b"lenet" not in content
    status, content, _ = ask(server, f"/?token={token}", Host="driver.example")
    assert status == 200
    assert token.encode() not in content
    assert ask(server, f"/state?token={token}", Host="10.1.2.3")[0] == 200


def test_a_port_that_is_taken(web):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on port {port} of 127.0.0.1 \(Address already in use\)"):
            Web(str(port), RunState())
    with pytest.raises(ConfigError, match="'no such host' is no address of this machine"):
        Web("no such host:80", RunState())
    with pytest.raises(ConfigError, match=r"cannot listen on port 80 of 203.0.113.7"):
        Web("203.0.113.7:80", RunState())


def test_news_come_when_there_are_some(web):
    state = state_of(start())
    server = web("0", state)
    version = json.loads(ask(server, "/state")[1])["version"]
    found = []
    thread = threading.Thread(target=lambda: found.append(json.loads(ask(server, f"/state?after={version}&page=a")[1])))
    begin = time.monotonic()
    thread.start()
    time.sleep(0.7)
    assert not found
    state.record(iteration(0))
    thread.join(5)
    assert found[0]["iteration"] == 1
    assert time.monotonic() - begin < 3


def test_pages_that_are_looked_at_hear_of_the_end(web):
    state = state_of(start(), iteration(0))
    server = web("0", state)
    found = []

    def look():
        version = -1
        while not found or found[-1]["phase"] != "finished":
            found.append(json.loads(ask(server, f"/state?after={max(0, version)}&page=a")[1]))
            version = found[-1]["version"]
            time.sleep(0.4)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    time.sleep(1.0)
    state.record(end(1))
    server.close()
    thread.join(5)
    assert found[-1]["phase"] == "finished"
    with pytest.raises(OSError):
        ask(server, "/")
    begin = time.monotonic()
    nobody = Web("0", state_of(start()))
    nobody.close()
    assert time.monotonic() - begin < 1


def test_clients_that_never_speak_hold_up_nothing(web):
    server = web("0", state_of(start()))
    port = server._server.server_address[1]
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    try:
        assert ask(server, "/state")[0] == 200
        many = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        time.sleep(0.5)
        assert threading.active_count() < 100
        for sock in many:
            sock.close()
    finally:
        for sock in idle:
            sock.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert ask(server, "/state")[0] == 200
            break
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    else:
        raise AssertionError("the server does not recover")


def test_idle_connections_keep_nobody_out(web):
    """Nor those that have asked for news and wait."""
    state = state_of(start())
    server = web("0", state)
    address = ("127.0.0.1", server._server.server_address[1])
    version = json.loads(ask(server, "/state")[1])["version"]
    request = f"GET /state?after={version} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    viewer = socket.create_connection(address, timeout=10)
    viewer.sendall(request)
    time.sleep(0.2)
    others = []
    try:
        for said in (b"", b"GET / HTTP/1.1\r\nHost: loc", request):
            others += [socket.create_connection(address) for _ in range(70)]
            for sock in others[-70:]:
                sock.sendall(said)
            begin = time.monotonic()
            assert ask(server, "/state")[0] == 200
            assert time.monotonic() - begin < 5
            assert threading.active_count() < 110
            if said != request:  # a page that waits for news is not what gives way
                viewer.setblocking(False)
                with pytest.raises(BlockingIOError):
                    viewer.recv(1)
    finally:
        viewer.close()
        for sock in others:
            sock.close()
    state.record(iteration(0))
    deadline = time.monotonic() + 10
    while server._server._open and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server._server._open


MALFORMED = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
    (b"GET\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 505),
    (b"GET / HTTP/x\r\n\r\n", 400),
    (b"GET / HTTP/1.1 more\r\n\r\n", 400),
    (b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET //[/state HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /state?after=" + b"9" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ("GET /state?after=² HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 200),
    (b"GET /state?after=%C2%B2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET /\xff\xfe%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: \xff\xfe[\r\n\r\n", 403),
    (b"<script>alert(1)</script> / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
]


@pytest.mark.parametrize(("request_", "status"), MALFORMED, ids=[str(number) for number in range(len(MALFORMED))])
def test_malformed_requests_get_a_plain_answer(web, capsys, request_, status):
    server = web("0", state_of(start()))
    with socket.create_connection(("127.0.0.1", server._server.server_address[1]), timeout=10) as sock:
        sock.sendall(request_)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            piece = sock.recv(1 << 16)
            if not piece:
                break
            answer += piece
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert b"Content-Security-Policy" in head
    assert b"script" not in content or status == 200
    assert ask(server, "/state")[0] == 200
    assert "Traceback" not in capsys.readouterr().err
