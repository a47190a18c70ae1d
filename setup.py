"""The part of the build that pyproject.toml has no words for: packages found, and one that is elsewhere."""

from setuptools import find_packages, setup

# The embedded models: `checkpoints/` in the repository, `agsrec/embedded_models/` in a wheel.
setup(packages=[*find_packages(include=["agsrec", "agsrec.*"]), "agsrec.embedded_models"])
