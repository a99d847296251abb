"""Which files a command line reads and which it writes: no output may be an input, or another output.

One check for every command, before anything is opened. What is the same file is decided by the file, not by how its
path is spelled: links of both kinds, `./x` and `x`, `/dev/stdout` and `-`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from genomai_cli.errors import UsageError

# The options that name what is written; a file or folder that any other option or argument names is read.
OUTPUTS = frozenset(
