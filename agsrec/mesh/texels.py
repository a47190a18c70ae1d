"""The texels of a mesh: what of the surface each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.render.zbuffer import rasterize_mesh

if TYPE_CHECKING:
    from agsrec.mesh.shape import Shape
    from agsrec.mesh.textured import TexturedMesh

__all__ = ["Texels"]

_CHUNK = 1 << 19  # texels at a time: what is computed of each needs much more room than what is kept


@dataclass(frozen=True)
class Texels:
    """The M texels that belong to the surface.

    Attributes:
        size: Edge of the texture.
        index: Row times size plus column [M].
        faces: The triangle under the texel's centre [M].
        shares: Weights of its corners [M, 3].
        points: World positions [M, 3].
    """

    size: int
    index: Tensor
    faces: Tensor
    shares: Tensor
    points: Tensor

    @staticmethod
    def of(mesh: TexturedMesh, size: int) -> Texels:
        """What lies under the centre of each texel: the mesh drawn flat, at its texture coordinates."""
        flat = np.stack([mesh.uvs[:, 0] * size, (1 - mesh.uvs[:, 1]) * size, np.ones(len(mesh.uvs))], -1)
        fragments = rasterize_mesh(flat, mesh.faces, np.eye(4)[None], np.eye(3)[None], size, size)
        ids = fragments.face_ids[0].ravel()
        index = (ids >= 0).nonzero()[0].astype(np.int32)
        faces, shares = ids[index], fragments.barycentrics[0].reshape(-1, 3)[index]
        del fragments
        vertices = mesh.vertices.astype(np.float32)
        points = np.zeros((len(index), 3), dtype=np.float32)
        for k in range(3):
            points += shares[:, k, None] * vertices[mesh.faces[faces, k]]
        return Texels(size, *(torch.from_numpy(a) for a in (index, faces, shares, points)))

    def __len__(self) -> int:
        return len(self.index)

    def per_unit(self, shape: Shape) -> float:
        """Texels per unit of length of the surface, on average."""
        return (len(self) / max(float(shape.areas().sum()), 1e-30)) ** 0.5

    def chunks(self) -> Iterator[Tensor]:
        """Numbers of all of them, some at a time."""
        yield from torch.arange(len(self)).split(_CHUNK)

    def corner_mean(self, which: Tensor, corners: Tensor, values: Tensor) -> Tensor:
        """Values [P] of a shape's points at some texels, by its faces' corners [F, 3]."""
        at = corners[self.faces[which].long()]
        return (self.shares[which] * values[at]).sum(-1)

    def painted(self, colors: Tensor) -> NDArray[np.float32]:
        """The texture [T, T, 3] with colours [M, 3].

        Between the charts every texel takes the colour of the nearest one: sampling reaches over the edge.
        """
        import cv2

        blank = np.ones(self.size * self.size, dtype=np.uint8)
        blank[self.index.numpy()] = 0
        _, found = cv2.distanceTransformWithLabels(
            blank.reshape(self.size, self.size), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        labels = np.asarray(found, dtype=np.int32)
        row = np.zeros(int(labels.max()) + 1, dtype=np.int32)  # of the texel that each label stands for
        row[labels.ravel()[self.index.numpy()]] = np.arange(len(self), dtype=np.int32)
        return colors.numpy()[row[labels]]
