"""What clients may send, and what every answer says: of the guard alone, and of the running app."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agsrec.app.entry import Server, _is_right
from agsrec.app.guard import HEADERS, Guard, Rules
from agsrec.app.sessions import Sessions
from agsrec.errors import OptionError

RULES = Rules(upload_bytes=3000, other_bytes=1000, uploads=1, wait=0.05, stall=0.1, rate=1e5, spare_bytes=0)
UPLOAD, JOIN = "/gradio_api/upload", "/gradio_api/queue/join"


async def reads(scope: Any, receive: Any, send: Any) -> None:
    """An app that reads everything and answers with its length."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] in ("/fails", "/gradio_api/call/v2/fails"):
        raise ValueError("/home/secret\nmore")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"DENY")]})
    await send({"type": "http.response.body", "body": str(length).encode()})


async def asked(
    guard: Guard, path: str, pieces: Iterable[bytes] = (), *, method: str = "POST", pause: float = 0.0
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer to a request that comes in pieces and may never end."""
    coming, sent = list(pieces), []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        piece = coming.pop(0) if coming else b""
        return {"type": "http.request", "body": piece, "more_body": bool(coming)}

    async def send(message: Any) -> None:
        sent.append(message)

    blocks = SimpleNamespace(fns={0: None})
    app = SimpleNamespace(get_blocks=lambda: blocks)
    await guard({"type": "http", "path": path, "method": method, "headers": [], "app": app}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"].decode()


def answer(
    path: str, *pieces: bytes, rules: Rules = RULES, **options: Any
) -> tuple[int, dict[str, str], str]:
    return asyncio.run(asked(Guard(reads, rules, Path.cwd()), path, pieces, **options))


@pytest.mark.parametrize(
    ("path", "pieces", "status"),
    [
        ("/", [b"x" * 999], 200),
        ("/", [b"x" * 600, b"x" * 600], 413),
        (UPLOAD, [b"x" * 999] * 3, 200),
        (UPLOAD, [b"x" * 999] * 4, 413),
        ("/gradio_api/process_recording", [], 404),
        ("/gradio_api/vibe-edit", [], 404),
        ("/gradio_api/proxy=http://10.0.0.1/", [], 404),
        ("/openapi.json", [], 404),
        ("/fails", [], 500),
        ("/gradio_api/call/v2/fails", [b"{}"], 400),
    ],
)
def test_what_may_be_sent(path: str, pieces: list[bytes], status: int) -> None:
    code, headers, text = answer(path, *pieces)
    assert code == status
    assert headers["x-frame-options"] == ("DENY" if status == 200 else "SAMEORIGIN")
    assert set(HEADERS) <= set(headers) and "secret" not in text
    assert status != 200 or text == str(sum(map(len, pieces)))


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ({"data": [], "fn_index": 0, "session_hash": "abc"}, 200),
        ({"data": [], "fn_index": 7, "session_hash": "abc"}, 404),
        ({"data": [], "fn_index": 0}, 400),
        ({"data": [], "fn_index": 0, "session_hash": ""}, 400),
        ({"data": [], "fn_index": 0, "session_hash": "a" * 500}, 400),
        ({"data": [], "session_hash": {"$gt": 1}}, 400),
        ([], 400),
        (b"\xff\xfe", 400),
        (b"[" * 900, 400),
    ],
)
def test_calls(call: Any, status: int) -> None:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    code, _, text = answer(JOIN, body[:5], body[5:])
    assert code == status and (status != 200 or text == str(len(body)))


def test_slow_clients() -> None:
    assert answer("/", b"x", b"y", pause=0.3)[0] == 408  # nothing comes any more
    assert answer("/", *[b"x"] * 9, pause=0.03)[0] == 408  # too little does
    assert answer("/", *[b"x"] * 9, pause=0.03, rules=replace(RULES, rate=1.0))[0] == 200


def test_uploads_wait_for_a_place_and_for_space() -> None:
    guard = Guard(reads, replace(RULES, rate=1.0), Path.cwd())

    async def together() -> list[int]:
        slow = asyncio.create_task(asked(guard, UPLOAD, [b"x"] * 4, pause=0.04))
        await asyncio.sleep(0.01)
        late = await asked(guard, UPLOAD, [b"x"])
        page = await asked(guard, "/", method="GET")
        return [(await slow)[0], late[0], page[0], (await asked(guard, UPLOAD, [b"x"]))[0]]

    assert asyncio.run(together()) == [200, 503, 200, 200]
    assert answer(UPLOAD, b"x", rules=replace(RULES, spare_bytes=2**62))[0] == 507


def test_who_is_let_in() -> None:
    right = ("anna", "sécret")
    assert _is_right(right, *right)
    for user, password in (("anna", "secret"), ("anne", "sécret"), ("", ""), ("anna", ""), ("é", "é")):
        assert not _is_right(right, user, password)


def test_sessions_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.app.sessions._MOST", 3)
    sessions = Sessions()
    for key in ("a", "b", "c", "a"):
        sessions.of(key)
    with pytest.raises(OptionError, match="Too many pages are open"):
        sessions.of("d")
    sessions.end("a")
    assert sessions.of("d") is not None
    sessions.close()


def test_the_running_app_has_a_guard(server: Server) -> None:
    page = httpx.get(server.url)
    assert page.status_code == 200 and set(HEADERS) <= set(page.headers)
    assert httpx.get(f"{server.url}gradio_api/openapi.json").status_code == 404
    call = httpx.post(f"{server.url}gradio_api/queue/join", content=b"x" * (2 * 2**20))
    assert call.status_code == 413 and call.text == "The request is larger than 1 MB."
    for name in ("../../evil.png", "/etc/cron.d/x", "..\\evil.png", "a\0b.png"):
        sent = httpx.post(f"{server.url}gradio_api/upload", files={"files": (name, b"hi")})
        (path,) = sent.json()
        assert Path(path).resolve().is_relative_to(server.sessions.uploads)
    unknown = httpx.post(f"{server.url}gradio_api/run/nothing", json={"data": []})
    assert (unknown.status_code, "Traceback" in unknown.text) == (404, False)
