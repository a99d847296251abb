"""`python -m genomai_cli` does what `genomai` does."""

import sys

from genomai_cli.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
