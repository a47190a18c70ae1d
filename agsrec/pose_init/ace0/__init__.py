"""ACE0: scene coordinates regressed per pixel, views registered by them, and the regressor trained on those."""
