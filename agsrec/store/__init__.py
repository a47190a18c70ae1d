"""What a run keeps, so that nothing is computed twice: finished stages, and states of unfinished ones."""

from agsrec.store.codec import digest, plain, rebuilt
from agsrec.store.memory import Memory
from agsrec.store.states import Checkpointing, load_state, save_state
from agsrec.store.store import Kept, Request, Store, Unfinished

__all__ = [
    "Checkpointing",
    "Kept",
    "Memory",
    "Request",
    "Store",
    "Unfinished",
    "digest",
    "load_state",
    "plain",
    "rebuilt",
    "save_state",
]
