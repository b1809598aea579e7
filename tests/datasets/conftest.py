"""A server of files that can break off."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


class Server:
    """Serves `files`, name -> content; `asked` for what, from which byte. Breaks off after `most` bytes, `times`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int]] = []
        self.most, self.times, self.ranges = 0, 0, True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                wanted = self.headers.get("Range", "bytes=0-")
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if server.ranges else 0
                server.asked.append((self.path.lstrip("/"), start))
                content = server.files.get(self.path.lstrip("/"), server.files.get(name))
                if content is None or "gone" in self.path:
                    return self.send_error(404)
                if start and start >= len(content):
                    return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                part = content[start:]
                if server.times:
                    server.times -= 1
                    part = part[: server.most]
                self.wfile.write(part)
                return None

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.stop()
