"""`python -m agsrec`: the same as the command `agsrec`."""

from agsrec.cli import main

main()
