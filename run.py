"""Reconstruct one object: `python run.py --category jordan --num_views 8`, or `--category photo.jpg`."""

import sys

from agsrec.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
