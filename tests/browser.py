"""Headless Chromium as a test drives it: opens a page, waits, clicks, reads what it shows, takes its picture (DevTools protocol)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest

_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


def chromium() -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    return found


class Browser:
    """One tab of a browser of its own, with a profile in `folder`. A context manager."""

    def __init__(self, folder: Path, *, width: int = 1600, height: int = 1400) -> None:
        self.profile = folder / "chromium"
        self._process = subprocess.Popen(
            [chromium(), *_QUIET, f"--user-data-dir={self.profile}", f"--window-size={width},{height}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._n_calls = 0
        self._size = (width, height)

    def __enter__(self) -> Self:
        self._loop.run_until_complete(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # the leader of a group of its own
        self._process.wait(30)

    def open(self, url: str) -> None:
        """Go there, and come back at once."""
        self._call("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0) -> None:
        """Until the expression is true of the page; before that it may fail, as it does while there is no page."""
        end = time.monotonic() + seconds
        while not self.js(f"(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, (
                f"{expression} never came true; the page says:\n{self.text()[:3000]}"
            )
            time.sleep(0.1)

    def wait_for_text(self, *texts: str, seconds: float = 60.0) -> None:
        """Until the page shows all of them."""
        wanted = json.dumps(texts)
        self.wait(f"{wanted}.every(each => document.body.innerText.includes(each))", seconds)

    def click(self, expression: str, seconds: float = 60.0) -> None:
        """Click what the expression finds, once it is there."""
        self.wait(f"(() => {{ const it = {expression}; if (it) it.click(); return !!it; }})()", seconds)

    def text(self) -> str:
        """What the page shows."""
        return str(self.js("document.body.innerText"))

    def fetch(self, url: str) -> bytes:
        """What is at an address, asked for beside the page."""

        async def content() -> bytes:
            async with self._session.get(url) as answer:
                answer.raise_for_status()
                return await answer.read()

        return self._loop.run_until_complete(content())

    def screenshot(self, path: Path) -> None:
        """A PNG of the window."""
        answer = self._call("Page.captureScreenshot", format="png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **params: Any) -> Any:
        return self._loop.run_until_complete(self._ask(method, params))

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        self._n_calls += 1
        await self._socket.send_json({"id": self._n_calls, "method": method, "params": params})
        while True:
            answer = await asyncio.wait_for(self._socket.receive_json(), 60)
            if answer.get("id") == self._n_calls:
                assert "error" not in answer, answer
                return answer["result"]

    async def _connect(self) -> None:
        port_file = self.profile / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not port_file.is_file() or len(port_file.read_text().splitlines()) < 2:
            assert time.monotonic() < end, "chromium did not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [each for each in await answer.json(content_type=None) if each["type"] == "page"]
        self._socket = await self._session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        width, height = self._size
        await self._ask(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
