"""Background removal without any model: GrabCut from a centred start."""

from __future__ import annotations

import cv2
import numpy as np

from agsrec.preprocess.matting import REFINE_SIZE, fit_within, follow_edges

__all__ = ["grabcut_alpha"]

_WORK_SIZE = 384  # longest side in pixels on which the cut is found
_ITERATIONS = 5
_FRAME = 0.03  # width of the surely empty frame, as a share of the shorter side
_PLAIN_NOISE = 16.0  # of 255; a frame that varies less is a plain backdrop
_PLAIN_TOLERANCE = 12.0  # of 255; colours nearer to the backdrop's belong to it
_PLAIN_STEP = 3  # of 255; largest step of brightness inside a soft shadow
_DARKEST_SHADOW = 0.4  # brightness of a shadow relative to the backdrop
_START_RADII = (0.65, 0.75, 0.9)  # of the centred ellipse to start from, 1 touches the border
_CHROMA_GAIN, _LIGHTNESS_GAIN = 1.5, 0.25  # weak lightness: a shadow looks like the floor it falls on


def grabcut_alpha(rgb: np.ndarray) -> np.ndarray:
    """Alpha [H, W] uint8 of the object in the middle of a photo [H, W, 3] uint8.

    GrabCut (Rother et al. 2004) finds a local optimum that depends on its start and its colour space, so it
    runs from several ellipses, in RGB and in a colour space that all but ignores shadows, and the majority
    of these cuts decides. A photo before a plain backdrop needs none of it: what differs from the backdrop
    is the object. All zero if nothing is found.
    """
    height, width = rgb.shape[:2]
    smooth = cv2.bilateralFilter(fit_within(rgb, _WORK_SIZE), 5, 20, 3)
    backdrop = _plain_backdrop(smooth)
    if backdrop is None:
        images = smooth, _shadow_free(smooth)
        cuts = [_grabcut(image, radius) for image in images for radius in _START_RADII]
        mask = _clean(np.mean(cuts, axis=0) > 0.5, close=0.03)
    else:
        mask = _clean(~backdrop, close=0.005)
    if not mask.any():
        return np.zeros((height, width), dtype=np.uint8)
    alpha = follow_edges(mask, fit_within(rgb, REFINE_SIZE))
    levels = (alpha * 255).round().astype(np.uint8)
    return cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR)


def _shadow_free(rgb: np.ndarray) -> np.ndarray:
    """Lab [H, W, 3] uint8 with strong chroma and weak lightness."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= _LIGHTNESS_GAIN
    lab[..., 1:] = (lab[..., 1:] - 128) * _CHROMA_GAIN + 128
    return lab.clip(0, 255).astype(np.uint8)


def _plain_backdrop(rgb: np.ndarray) -> np.ndarray | None:
    """The backdrop [H, W] bool of a photo whose frame is of one colour; None for any other photo.

    Shadows on the backdrop belong to it: pixels of its hue that are darker, as far as they are reached
    from it in small steps of brightness, which the edge of an object is not.
    """
    height, width = rgb.shape[:2]
    frame = _frame(height, width)
    color = np.median(rgb[frame], axis=0)
    distance = np.abs(rgb - color).max(-1)
    noise = float(np.percentile(distance[frame], 95))
    if noise > _PLAIN_NOISE:
        return None
    near = distance <= max(_PLAIN_TOLERANCE, 2 * noise)
    shade = (rgb @ color) / max(float(color @ color), 1.0)
    same_hue = np.abs(rgb - shade[..., None] * color).max(-1) <= _PLAIN_TOLERANCE / 2
    shadow = same_hue & (shade > _DARKEST_SHADOW) & (shade < 1) & (color.mean() > 2 * _PLAIN_TOLERANCE)
    # A border of the backdrop's colour connects all sides, so that one seed reaches everything.
    padded = cv2.copyMakeBorder(rgb, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=color.tolist())
    reached = np.pad(~(near | shadow), 2).astype(np.uint8)
    step = (_PLAIN_STEP,) * 3
    cv2.floodFill(padded, reached, (0, 0), 0, step, step, 4 | cv2.FLOODFILL_MASK_ONLY | (255 << 8))
    return (reached[2:-2, 2:-2] == 255) | near


def _frame(height: int, width: int) -> np.ndarray:
    """The outermost pixels [H, W] bool, where no object is expected."""
    thickness = max(1, round(_FRAME * min(height, width)))
    out = np.ones((height, width), dtype=bool)
    out[thickness:-thickness, thickness:-thickness] = False
    return out


def _grabcut(image: np.ndarray, radius: float) -> np.ndarray:
    """One cut [H, W] bool from a centred ellipse of that radius, the frame being surely background."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    labels = np.where(np.hypot(x, y) < radius, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_frame(height, width)] = cv2.GC_BGD
    if not (labels == cv2.GC_PR_FGD).any():
        return np.zeros((height, width), dtype=bool)
    cv2.setRNGSeed(0)  # its k-means draws from a global generator
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image, labels, (0, 0, 0, 0), *models, _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _clean(mask: np.ndarray, *, close: float, open_: float = 0.008, hole: float = 0.05) -> np.ndarray:
    """A mask [H, W] bool without cracks, whiskers, specks and narrow holes.

    All lengths are shares of the object's size, the square root of its area. A hole is narrow if no disc of
    radius `hole` fits in: the gap under a handle stays, a stripe in the colour of the background goes.
    """
    size = float(np.sqrt(mask.sum()))
    pad = 1 + round(close * size)
    padded = np.pad(mask.astype(np.uint8), pad)
    padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(close * size))
    padded = cv2.morphologyEx(padded, cv2.MORPH_OPEN, _disc(open_ * size))
    padded = _without_specks(padded)
    count, labels = cv2.connectedComponents(1 - padded, connectivity=4)
    depth = cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5)
    for label in range(1, count):
        region = labels == label
        if label != labels[0, 0] and depth[region].max() < hole * size:
            padded[region] = 1
    return padded[pad:-pad, pad:-pad].astype(bool)


def _disc(radius: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(radius) + 1,) * 2)


def _without_specks(mask: np.ndarray, share: float = 0.1) -> np.ndarray:
    """The components [H, W] uint8 that have at least `share` of the area of the largest."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = [i + 1 for i in range(count - 1) if areas[i] >= share * areas.max()]
    return np.isin(labels, keep).astype(np.uint8)
