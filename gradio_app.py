"""The app in a browser: `python gradio_app.py`, with options as in `python gradio_app.py --help`."""

from agsrec.app import main

if __name__ == "__main__":
    main()
