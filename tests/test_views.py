from __future__ import annotations

import pytest
import torch

from agsrec.errors import ShapeError
from agsrec.views import Views


def views() -> Views:
    images = torch.rand(3, 4, 6, 4, generator=torch.Generator().manual_seed(0))
    return Views(images, ("a", "b", "c"))


def test_sizes_and_masks() -> None:
    v = views()
    assert (len(v), v.height, v.width) == (3, 4, 6)
    assert torch.equal(v.masks, v.images[..., 3])


def test_selection_keeps_order_and_names() -> None:
    picked = views()[[2, 0]]
    assert picked.names == ("c", "a")
    assert torch.equal(picked.images, views().images[[2, 0]])


def test_composited_by_hand() -> None:
    image = torch.tensor([1.0, 0.5, 0.0, 0.25]).expand(1, 1, 1, 4)
    rgb = Views(image, ("x",)).composited(torch.tensor([0.0, 1.0, 1.0]))
    torch.testing.assert_close(rgb, torch.tensor([0.25, 0.875, 0.75]).expand(1, 1, 1, 3))


@pytest.mark.parametrize(("shape", "names"), [((3, 4, 6, 3), 3), ((4, 6, 4), 4), ((3, 4, 6, 4), 2)])
def test_wrong_shapes(shape: tuple[int, ...], names: int) -> None:
    with pytest.raises(ShapeError):
        Views(torch.zeros(shape), tuple("abcd"[:names]))
