"""The transformer of DUSt3R and its relatives, under their published names: one network, several heads."""
