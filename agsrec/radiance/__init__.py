"""Scenes as fields of density and colour, seen through the volume rendering integral."""
