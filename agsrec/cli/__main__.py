"""`python -m agsrec.cli`."""

from agsrec.cli.entry import main

main()
