from .config import RadianceConfig as RadianceConfig
from .config import RadianceLevel as RadianceLevel
from .referee import Comparison as Comparison
from .referee import HeldBack as HeldBack
from .referee import compared as compared
from .referee import held_back as held_back
from .referee import held_back_fold as held_back_fold

__all__: list[str]
