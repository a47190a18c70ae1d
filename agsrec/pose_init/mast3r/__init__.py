"""MASt3R (Leroy et al., ECCV 2024): DUSt3R with a descriptor per pixel, and poses from their matches."""
