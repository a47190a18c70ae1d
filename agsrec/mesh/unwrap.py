"""Texture coordinates, by xatlas.

xatlas does not let go of Python's lock while it computes, for seconds. So that other work can be done
meanwhile, `Unwrapping` starts this file as a program of its own, which imports nothing of the package.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Unwrapping", "unwrapped"]

Layout = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]

_SIZE, _PADDING = 1024, 2  # texels, and those between charts; a larger texture has as many more between them


def unwrapped(vertices: NDArray[np.float64], faces: NDArray[np.int32], texture_size: int = _SIZE) -> Layout:
    """How a mesh is cut along seams: the vertex that each new one was [N], faces [F, 3] of the new ones, and
    their texture coordinates [N, 2] in [0, 1].

    Charts do not overlap, and are some texels apart in a texture of that size or of a larger one. Faces keep
    their order.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    packing.resolution, packing.padding, packing.bilinear = min(texture_size, _SIZE), _PADDING, True
    atlas.generate(charts, packing)
    source, corners, uvs = atlas[0]
    return source.astype(np.int64), corners.astype(np.int32), np.asarray(uvs, dtype=np.float64).clip(0, 1)


class Unwrapping:
    """`unwrapped` in a process of its own, from when it is made; as a context, none outlives it.

    Args:
        vertices: World positions [N, 3].
        faces: Corner indices [F, 3].
        texture_size: The smallest texture that will do.
        beside: Whether there is a process; otherwise it is done when asked for.
    """

    def __init__(
        self,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int32],
        texture_size: int = _SIZE,
        *,
        beside: bool = True,
    ) -> None:
        self._mesh = vertices, faces, texture_size
        self._place = tempfile.TemporaryDirectory(prefix="agsrec-")
        self._file = Path(self._place.name) / "mesh.npz"
        self._process: subprocess.Popen[bytes] | None = None
        if beside and sys.executable:
            np.savez(self._file, vertices=vertices, faces=faces, texture_size=texture_size)
            self._process = _started(self._file)

    def layout(self) -> Layout:
        """The result; computed here where the process failed."""
        if self._process is not None and self._process.wait() == 0:
            with np.load(_result_of(self._file)) as found:
                return found["source"], found["corners"], found["uvs"]
        return unwrapped(*self._mesh)

    def __enter__(self) -> Unwrapping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._place.cleanup()


def _started(file: Path) -> subprocess.Popen[bytes] | None:
    """The process, or none where the system refuses."""
    # -P: modules beside this file are not to be found under the names of others.
    command = [sys.executable, "-P", str(Path(__file__)), str(file)]
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    except OSError:
        return None


def _result_of(file: Path) -> Path:
    return file.with_name("layout.npz")


def _main(file: Path) -> None:
    with np.load(file) as mesh:
        source, corners, uvs = unwrapped(mesh["vertices"], mesh["faces"], int(mesh["texture_size"]))
    np.savez(_result_of(file), source=source, corners=corners, uvs=uvs)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
