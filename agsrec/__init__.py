"""agsrec: camera poses and a complete 3D model from a few photos of one object."""
