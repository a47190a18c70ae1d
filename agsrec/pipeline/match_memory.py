"""What runs found in photos and between them, kept in a result folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agsrec.store import Memory, Request

if TYPE_CHECKING:
    from agsrec.pipeline.desk import Desk

__all__ = ["match_memory"]


def match_memory(desk: Desk, request: Request) -> Memory:
    """What earlier runs found in the photos and between them, so that another photo costs only itself."""
    folder = None if desk.store.folder is None else desk.store.folder / "matches"
    matcher, version = (request.made_from.get(name) for name in ("matcher", "version of the stage"))
    memory = Memory(folder, (matcher, version), device=desk.device)
    if not desk.store.is_used("poses"):
        memory.forget()
    return memory
