"""`python -m genomai_cli` does what `genomai` does. Ctrl-C ends the program without a word until it is loaded."""

import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from genomai_cli.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
