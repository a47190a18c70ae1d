"""Videos as photos: sharp frames of one that show an object from sides far apart."""

from agsrec.frames.extract import FRAMES, RECORD, Extracted, extract_frames, photos_of
from agsrec.frames.film import VIDEO_SUFFIXES, is_video

__all__ = [
    "FRAMES",
    "RECORD",
    "VIDEO_SUFFIXES",
    "Extracted",
    "extract_frames",
    "is_video",
    "photos_of",
]
