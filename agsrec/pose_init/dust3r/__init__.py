"""DUSt3R: the alignment of its pairwise point maps into cameras."""
