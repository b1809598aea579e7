"""A browser without a window: headless Chromium, spoken to over a pipe in its own protocol (DevTools)."""

import json
import os
import select
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

ASKED = ("Network.requestWillBeSent", "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
SECONDS = 120  # a browser that takes longer hangs


class Browser:
    """One page of a new browser; `events` holds what the page asked for and complained of. A context manager."""

    def __init__(self, program: str) -> None:
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, to_write = os.pipe()
        back_read, back_write = os.pipe()
        flags = [
            f"--user-data-dir={self._home.name}",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        # It reads its file 3 and writes its file 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{back_write}', "bash"]
        self._process = subprocess.Popen(
            [*shell, program, "--headless=new", "--no-first-run", *flags, "about:blank"],
            pass_fds=(to_read, back_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(back_write)
        self._out, self._in = os.fdopen(to_write, "wb"), os.fdopen(back_read, "rb")
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._out.close()  # upon which it ends
        self._process.wait(SECONDS)
        self._in.close()
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol answers; events that come before are kept."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": parameters}
        self._out.write(json.dumps(said | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        self._out.flush()
        while (heard := self._heard()).get("id") != self._number:
            self.events.append(heard)
        if "error" in heard:
            raise RuntimeError(f"{method}: {heard['error']}")
        return heard["result"]

    def _heard(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], SECONDS)[0]:
                raise RuntimeError("the browser says nothing")
            piece = os.read(self._in.fileno(), 1 << 20)
            if not piece:
                raise RuntimeError("the browser ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def show(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Loads a file in a window of this size; returns when all of it is there."""
        self.events.clear()
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=path.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._heard())

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def complaints(self) -> list[str]:
        """What the page wrote to the console, threw, or asked of anyone but this disk and itself."""
        found = []
        for event in self.events:
            if event.get("method") in ASKED:
                url = event["params"].get("request", {}).get("url", "")
                if not url.startswith(("file:", "data:")):
                    found.append(url or json.dumps(event["params"]))
        return found
