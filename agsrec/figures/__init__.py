"""How pictures are drawn: panels of photos and renders, cameras, curves, the turntable video.

Nothing is imported here, so that a page that needs one picture loads no other.
"""
