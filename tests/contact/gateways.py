"""Channels that a test plays: a gateway by HTTP which takes each id once, and refuses, forgets or dies when told to."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Gateway:
    """The simulator of an SMS gateway, an app or a web hall; `delivered` is what customers got, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.delivered: list[tuple[str, int, str]] = []
        self.calls = 0
        self.refuses: set[int] = set()
        self.dies_after_taking = 0
        self.answers_nonsense = False

    def take(self, body: bytes) -> bytes | None:
        """The answer to one call; None when it dies before it answers."""
        self.calls += 1
        receipts = []
        for one in json.loads(body)["messages"]:
            taken = one["customer_key"] not in self.refuses
            if taken and one["id"] not in {known for known, _, _ in self.delivered}:
                self.delivered.append((one["id"], one["customer_key"], one["content"]))
            receipts.append({"id": one["id"], "taken": taken, "text": "ok" if taken else "blocked"})
        if self.dies_after_taking:
            self.dies_after_taking -= 1
            return None
        return b"{}" if self.answers_nonsense else json.dumps({"receipts": receipts}).encode()


@contextlib.contextmanager
def playing() -> Iterator[Gateway]:
    """The gateway on a port of its own."""
    gateway = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = gateway.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if answer is None else 200)
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *_: object) -> None:
            """Nothing is written to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
