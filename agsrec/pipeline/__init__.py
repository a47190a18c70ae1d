"""A whole run: what to reconstruct and how, who listens, and the order of its stages."""

from agsrec.pipeline.listener import STAGES, Listener, StageName
from agsrec.pipeline.settings import PhotoFolder, Posing, Settings

__all__ = ["STAGES", "Listener", "PhotoFolder", "Posing", "Settings", "StageName"]
