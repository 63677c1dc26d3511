"""`python -m deploy.observe`: listens for traces and shows them in a browser, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from deploy.observe import page, receiver
from deploy.observe.spans import Heard


def pages(heard: Heard, port: int) -> ThreadingHTTPServer:
    """The pages on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found, text = _answer(heard, self.path)
            body = text.encode()
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing of each request."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _answer(heard: Heard, path: str) -> tuple[bool, str]:
    """Whether the page is known, and the page."""
    url = urlsplit(path)
    asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if url.path == "/":
        with contextlib.suppress(ValueError):
            return True, page.latest(
                heard.traces(), asked.get("service", ""), float(asked.get("least") or 0), "failed" in asked
            )
        return True, page.latest(heard.traces(), "", 0, False)
    if url.path == "/map":
        return True, page.service_map(heard.traces())
    spans = heard.trace(url.path.removeprefix("/trace/"))
    return bool(spans), page.waterfall(spans) if spans else page.missing()


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted; 1 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m deploy.observe", description=__doc__)
    parser.add_argument("--port", type=int, default=8090, help="of the pages (8090)")
    parser.add_argument("--otlp", type=int, default=4317, help="where traces are sent to (4317)")
    arguments = parser.parse_args(argv)
    heard = Heard()
    try:
        server, otlp = receiver.listen(heard, arguments.otlp)
        site = pages(heard, arguments.port)
    except (OSError, RuntimeError) as error:
        print(f"observe: port {arguments.port} or {arguments.otlp} cannot be taken: {error}", file=sys.stderr)
        return 1
    print(f"pages    http://127.0.0.1:{site.server_address[1]}/")
    print(f"traces   OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp} make up    (after make down)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        site.serve_forever()
    server.stop(0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
