"""Chromium without a window, driven by the DevTools protocol over a pair of pipes.

Pipes reach a browser in another network namespace as well, which a port would not.
"""

import base64
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import cast

from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

ANSWER_LIMIT = 60.0
"""Seconds for one command of the protocol; long, because CI machines stall."""
STOP_LIMIT = 20.0

FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests run as root, for whom there is none
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# The protocol's pipes are descriptors 3 and 4, whatever numbers ours have; sh may know one digit.
_WITH_PIPES = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'

# What the protocol says of a page that is being replaced.
_BETWEEN_PAGES = ("context", "navigated or closed")

Json = Mapping[str, object]


class Chromium:
    """A running browser with one page."""

    def __init__(self, directory: Path, prefix: Sequence[str], arguments: Sequence[str]) -> None:
        program = program_path("chromium")
        if program is None:
            raise PeerFailed("chromium is not installed")
        self._log_file = directory / "chromium.log"
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        pipes = (str(to_browser), str(from_browser))
        command = [*prefix, program, *FLAGS, f"--user-data-dir={directory}", *arguments]
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", _WITH_PIPES, "bash", *pipes, *command, "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(to_browser, from_browser),
                start_new_session=True,
            )
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._last_id = 0
        self._session: str | None = None
        self._problems: list[str] = []

    def attach(self) -> None:
        """Wait until the browser has its page, and take it."""
        page = self._command("Target.createTarget", url="about:blank")
        attached = self._command("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = cast("str", attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            self._command(f"{domain}.enable")

    @property
    def problems(self) -> list[str]:
        """What the page's console said of errors: exceptions, refused resources."""
        return self._problems

    def open(self, url: str) -> None:
        """Load a page; until its load event."""
        answer = self._command("Page.navigate", url=url)
        if "errorText" in answer:
            raise PeerFailed(f"{url}: {answer['errorText']}")
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression; of what it promises, if it is a promise."""
        answer = self._command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression[:200]}: {answer['exceptionDetails']}")
        return cast("Json", answer["result"]).get("value")

    def until(self, condition: str, limit: float = ANSWER_LIMIT) -> None:
        """Wait until a JavaScript expression holds, on whatever page is there."""
        deadline = monotonic() + limit
        while not self._holds(condition):
            assert monotonic() < deadline, f"not in {limit} s: {condition}\n{self.text()}"
            select.select([], [], [], 0.05)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.evaluate(f"Boolean({condition})"))
        except PeerFailed as error:
            # The page that was asked has gone; the next one will be.
            if any(sign in str(error) for sign in _BETWEEN_PAGES):
                return False
            raise

    def text(self) -> str:
        """What the page shows."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, selector: str) -> None:
        """Click what the selector finds first."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str) -> None:
        """Press a key as a keyboard does: Tab, Enter, Escape, or a character."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in ("keyDown", "keyUp"):
            self._command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes.get(key, 0),
                text=text if kind == "keyDown" else "",
            )

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self._command("Input.insertText", text=text)

    def view(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of this size in CSS pixels, of somebody who prefers light or dark."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Write the page as a PNG."""
        shot = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(cast("str", shot["data"])))

    def log(self) -> str:
        """What the browser wrote."""
        return self._log_file.read_text(errors="replace")

    def stop(self) -> None:
        """End the browser and all its processes, which are in a session of their own."""
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _command(self, method: str, **parameters: object) -> Json:
        self._last_id += 1
        message: dict[str, object] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = monotonic() + ANSWER_LIMIT
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise PeerFailed(f"chromium: {method}: {answer['error']}")
                return cast("Json", answer["result"])
            self._note(answer)

    def _note(self, event: Json) -> None:
        parameters = cast("Json", event.get("params", {}))
        if event.get("method") == "Runtime.exceptionThrown":
            self._problems.append(json.dumps(parameters["exceptionDetails"])[:1000])
        if event.get("method") == "Log.entryAdded":
            entry = cast("Json", parameters["entry"])
            if entry["level"] == "error":
                self._problems.append(f"{entry['text']} ({entry.get('url', '')})")

    def _next(self, deadline: float, waiting_for: str) -> Json:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                raise PeerFailed(f"chromium: no answer to {waiting_for}:\n{self.log()}")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise PeerFailed(f"chromium ended:\n{self.log()}")
            self._received += data
        line, _, self._received = self._received.partition(b"\0")
        return cast("Json", json.loads(line))


@contextmanager
def chromium(prefix: Sequence[str] = (), *arguments: str) -> Iterator[Chromium]:
    """A browser that is ready; ``prefix`` is a command that runs it somewhere else."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        browser = Chromium(Path(directory), prefix, arguments)
        try:
            browser.attach()
            yield browser
        finally:
            browser.stop()
