"""A proxy in front of an object store that fails chosen requests."""

import itertools
import os
import threading
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy:
    """Stands in front of a store and fails the requests that `fault(number, command, path)` names a fault for.

    "500", "503", "403": that status. "cut": no answer, the connection ends. "half": the body ends half-way.
    "lost": done, and then cut. "stall": no answer, the connection stays. "dead": cut, and for `dead_s` seconds nobody
    listens at the port.
    """

    def __init__(self, fault, dead_s=5.0):
        self.fault, self.dead_s, self.failures, self.answered = fault, dead_s, [], []
        self.log = []  # every request in the order of its arrival: command, path and its fault, if it has one
        self.store = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.numbers, self.ended = itertools.count(1), threading.Event()
        self.dead, self.port = False, 0
        self.listen()

    @property
    def options(self):
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def failures_after(self, file):
        """Those from the first request on that wrote a file of this name."""
        (begin, *_) = (at for at, (command, path, _) in enumerate(self.log) if command == "PUT" and file in path)
        return [request for request in self.log[begin:] if request[2]]

    def listen(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, self))
        self.port, self.dead = self.server.server_port, False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def die(self):
        self.dead = True
        self.close()
        if not self.ended.wait(self.dead_s):
            self.listen()

    def end(self):
        self.ended.set()
        if not self.dead:
            self.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy, *arguments):
        self.proxy = proxy
        super().__init__(*arguments)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        del self.headers["Transfer-Encoding"]
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def forward(self):
        proxy, body = self.proxy, self.body()
        fault = "cut" if proxy.dead else proxy.fault(next(proxy.numbers), self.command, self.path)
        proxy.log.append((self.command, self.path, fault or ""))
        if fault and not proxy.dead:
            proxy.failures.append((self.command, self.path, fault))
        if fault == "stall":
            proxy.ended.wait()
        if fault == "dead":
            proxy.dead = True
            threading.Thread(target=proxy.die, daemon=True).start()
        if fault and fault.isdigit():
            return self.answer(int(fault), b"<Error><Code>SlowDown</Code></Error>", {})
        if fault in ("cut", "stall", "dead"):
            self.close_connection = True
            return self.connection.close()
        upstream = HTTPConnection(proxy.store.netloc)
        upstream.request(self.command, self.path, body, dict(self.headers))
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        if fault == "lost":
            self.close_connection = True
            return self.connection.close()
        self.answer(response.status, content, dict(response.headers), half=fault == "half")
        if not fault:
            proxy.answered.append((self.command, self.path))

    def answer(self, status, content, headers, half=False):
        self.send_response(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else len(content)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if half:
            self.close_connection = True
            content = content[: len(content) // 2]
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815  http.server's names

    def log_message(self, format, *args):
        """Nothing: by default every request would be a line among pytest's own output."""
