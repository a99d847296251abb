"""`python -m genomai_cli` does what `genomai` does. Ctrl-C ends the program without a word until it is loaded."""

import atexit
import gc
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from genomai_cli.cli.app import main

gc.set_threshold(20_000)  # what modules make as they load is no garbage
atexit.register(gc.freeze)  # to search torch for cycles, at the end of all, takes half a second

if __name__ == "__main__":
    sys.exit(main())
