"""What the commands share that start from photos without cameras."""

from __future__ import annotations

import os
from pathlib import Path

from agsrec.errors import OptionError
from agsrec.files import folder_entries

__all__ = ["scene_folder"]


def scene_folder(path: Path) -> Path:
    """The folder of an object: `path` itself, or the one around it where it is the `processed/` of one.

    Raises:
        OptionError: It is no folder.
    """
    if not os.path.isdir(path):
        raise OptionError(f"{path} is not a folder; give a folder of photos, or of a scene")
    folder = Path(os.path.abspath(path))
    inside = folder.name == "processed" and any(f.name.endswith("_rgba.png") for f in folder_entries(folder))
    return folder.parent if inside else folder
