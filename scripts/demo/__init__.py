"""Modelling and drawing of the demo objects in `data/demo`."""
