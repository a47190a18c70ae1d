"""What stands before Gradio: limits to what clients send, headers for browsers, no word about the machine."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio.route_utils import FnIndexInferError

__all__ = ["HEADERS", "Guard", "Rules"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Check = Callable[[Message, bytes], None]

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",  # an address of a result opens it
    "content-security-policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""What every answer says to browsers."""

_API = "/gradio_api/"
_UPLOAD = f"{_API}upload"
# Of Gradio, for other apps: they compute, keep files, fetch addresses, or tell how the app is made.
_CLOSED = (
    *("process_recording", "vibe-", "undo-vibe-", "proxy=", "dev/", "run-history", "runs", "profiling"),
    *("stream/", "custom_component", "deep_link", "openapi.json"),
)
_CALLS = tuple(f"{_API}{word}" for word in ("queue/join", "run/", "api/", "call/", "cancel", "reset"))
_JOIN = f"{_API}queue/join"
_LONGEST_KEY = 128  # characters of a session's key; Gradio's have a dozen
_NO_FUNCTION = "There is no such function; see the page's API."
_CLOSED_ROOT = ("/monitoring", "/openapi.json", "/svelte")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """What clients may send.

    Attributes:
        upload_bytes: Size of an upload, at most.
        other_bytes: Size of any other request, at most.
        uploads: Uploads at the same time; others wait.
        wait: Seconds that they do, at most.
        stall: Seconds without a word after which a request is given up.
        rate: Bytes per second of a request, at least, once it has taken `stall` seconds.
        spare_bytes: What uploads leave free of the disk.
    """

    upload_bytes: int = 12 * 30 * 2**20 + 2**20
    other_bytes: int = 2**20
    uploads: int = 16
    wait: float = 30.0
    stall: float = 20.0
    rate: float = 2**13
    spare_bytes: int = 2**30


class _Refused(Exception):
    """A request that is not read to its end."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Guard:
    """An ASGI middleware.

    Args:
        app: What answers.
        rules: What clients may send.
        disk: A folder on the disk that uploads go to.
    """

    def __init__(self, app: Any, rules: Rules, disk: Path) -> None:
        self._app, self._rules, self._disk = app, rules, disk
        self._places = asyncio.Semaphore(rules.uploads)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            self._admit(scope)
            if scope["path"].rstrip("/") == _UPLOAD and scope["method"] == "POST":
                await self._upload(scope, receive, answer)
            elif scope["method"] == "POST" and scope["path"].startswith(_CALLS):
                await self._pass_on(scope, receive, answer, self._rules.other_bytes, _check_call)
            else:
                await self._pass_on(scope, receive, answer, self._rules.other_bytes)
        except _Refused as refusal:
            await answer.refuse(refusal.status, refusal.sentence)
        except FnIndexInferError:
            await answer.refuse(404, _NO_FUNCTION)
        except Exception as error:  # in one line: who asks can make as many as they like
            words = " ".join(f"{type(error).__name__}: {error}".split())
            _log.error("a request to %s failed: %s", scope["path"][:80], words[:200])
            # What our functions raise Gradio answers itself: here it stumbled over the request.
            if scope["path"].startswith((_UPLOAD, *_CALLS)) and not isinstance(error, OSError):
                await answer.refuse(400, "The request is not as it should be.")
            await answer.refuse(500, "Something went wrong here; try again.")

    def _admit(self, scope: Message) -> None:
        """Raise if nobody here has a use for the request."""
        path = scope["path"]
        inside = path.removeprefix(_API) if path.startswith(_API) else None
        if path.startswith(_CLOSED_ROOT) or (inside is not None and inside.startswith(_CLOSED)):
            raise _Refused(404, "There is nothing here.")

    async def _upload(self, scope: Message, receive: Receive, answer: _Answer) -> None:
        """Pass an upload on when there is a place for it."""
        if shutil.disk_usage(self._disk).free < self._rules.spare_bytes + self._rules.upload_bytes:
            raise _Refused(507, "There is no space left for photos; try again later.")
        try:
            await asyncio.wait_for(self._places.acquire(), self._rules.wait)
        except TimeoutError:
            raise _Refused(503, "Too many photos are being uploaded; try again in a minute.") from None
        try:
            await self._pass_on(scope, receive, answer, self._rules.upload_bytes)
        finally:
            self._places.release()

    async def _pass_on(
        self, scope: Message, receive: Receive, answer: _Answer, most: int, check: Check | None = None
    ) -> None:
        """Let the app answer, who is given no more than so many bytes, which `check` has seen first."""
        body = _Body(receive, most, self._rules)
        body.check_announced(scope)
        if check is not None:
            check(scope, await body.read())
        try:
            await self._app(scope, body.receive, answer.send_unless(body))
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None:
            raise body.refusal


def _check_call(scope: Message, body: bytes) -> None:
    """Raise if a call of a function is none that Gradio knows how to refuse."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        raise _Refused(400, "The request is no JSON.") from None
    if not isinstance(call, dict):
        raise _Refused(400, "The request is no JSON object.")
    key = call.get("session_hash")
    if key is not None and not (isinstance(key, str) and len(key) <= _LONGEST_KEY):
        raise _Refused(400, "The request's session is none.")
    if scope["path"].startswith(_JOIN) and not key:  # Gradio would wait for nobody to fetch the answer
        raise _Refused(400, "The request names no session.")
    index = call.get("fn_index")
    if isinstance(index, int) and index not in scope["app"].get_blocks().fns:
        raise _Refused(404, _NO_FUNCTION)


class _Body:
    """What a client sends, as long as it keeps to the rules."""

    def __init__(self, receive: Receive, most: int, rules: Rules) -> None:
        self._receive, self._most, self._rules = receive, most, rules
        self._got, self._begun, self._complete = 0, time.monotonic(), False
        self._read: Message | None = None
        self.refusal: _Refused | None = None

    def check_announced(self, scope: Message) -> None:
        """Raise if a request says that it is too large."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most:
            raise self._too_large()

    async def read(self) -> bytes:
        """All of it, which the next `receive` will give once more."""
        content = b""
        while not self._complete:
            message = await self.receive()
            if message["type"] != "http.request":
                raise _Refused(400, "The request was not finished.")
            content += message.get("body", b"")
        self._read = {"type": "http.request", "body": content, "more_body": False}
        return content

    async def receive(self) -> Message:
        """The next piece."""
        if self._read is not None:
            whole, self._read = self._read, None
            return whole
        if self._complete:  # what follows is that the client goes away
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._rules.stall)
        except TimeoutError:
            raise self._refuse(_Refused(408, "The request came too slowly; try again.")) from None
        self._got += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        seconds = time.monotonic() - self._begun
        if self._got > self._most:
            raise self._refuse(self._too_large())
        if not self._complete and seconds > self._rules.stall and self._got < seconds * self._rules.rate:
            raise self._refuse(_Refused(408, "The request came too slowly; try again."))
        return message

    def _too_large(self) -> _Refused:
        return _Refused(413, f"The request is larger than {self._most / 2**20:.0f} MB.")

    def _refuse(self, refusal: _Refused) -> _Refused:
        self.refusal = refusal
        return refusal


class _Answer:
    """What a client is sent, with the headers of all answers."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun = send, False

    def send_unless(self, body: _Body) -> Send:
        """Sends what the app answers, unless its request was refused in the meantime."""

        async def send(message: Message) -> None:
            if body.refusal is None or self._begun:
                await self._pass(message)

        return send

    async def refuse(self, status: int, sentence: str) -> None:
        """Answer with a sentence, if nothing has been answered yet."""
        if self._begun:
            return
        content = sentence.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        await self._pass({"type": "http.response.start", "status": status, "headers": headers})
        await self._pass({"type": "http.response.body", "body": content})

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            said = {name.lower() for name, _ in message.get("headers", [])}
            ours = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in said]
            message = {**message, "headers": [*message.get("headers", []), *ours]}
        await self._send(message)
