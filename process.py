"""Cut out the object in photos: `python process.py photo.jpg` or `python process.py photos/`."""

import sys

from agsrec.cli import main

if __name__ == "__main__":
    main(["process", *sys.argv[1:]])
