"""A headless Chromium, driven through the DevTools protocol."""

# ruff: noqa: E501 - scripts for the page and tables of figures

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE_S = 20.0


class Browser:
    """One page of a browser with an empty profile; console messages and requests are kept in `events`."""

    def __init__(self, program, *, width=1280, height=900):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        words = [
            program,
            *FLAGS,
            f"--user-data-dir={self._profile.name}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)
        port = self._port(Path(self._profile.name) / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE_S) as answer:
            address = next(page["webSocketDebuggerUrl"] for page in json.load(answer) if page["type"] == "page")
        self._socket = websocket.create_connection(address, suppress_origin=True, timeout=PATIENCE_S)
        self._number = 0
        self.events = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _port(path):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if path.exists() and (text := path.read_text().split()):
                return text[0]
            time.sleep(0.05)
        raise TimeoutError(f"Chromium wrote no {path.name}.")

    def call(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def js(self, expression):
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression):
        """Wait until an expression holds."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.js(expression):
                return
            time.sleep(0.03)
        raise AssertionError(f"never became true: {expression}; {self.complaints()}")

    def open(self, path):
        """Open a file and wait until its script is done."""
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        self.until("document.documentElement?.dataset.ready === '1'")

    def hover(self, selector, x=0.5, y=0.5):
        """Move the pointer to a place within the first element that a selector finds, scrolled into view."""
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.js(
            f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        place = {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=place["x"] - 3, y=place["y"])
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)

    def complaints(self):
        """Return console messages, exceptions and log entries."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"])[:500] for event in self.events if event["method"] in kinds]

    def requests(self):
        """Return the addresses that were asked for, without inline data."""
        asked = (e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [url for url in asked if not url.startswith("data:")]

    def close(self):
        """End the browser and all that it started."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._profile.cleanup()
