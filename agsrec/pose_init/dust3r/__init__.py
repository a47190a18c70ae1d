"""DUSt3R: the published network, and the alignment of its pairwise point maps into cameras."""
