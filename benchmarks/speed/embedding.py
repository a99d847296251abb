"""How much memory `genomai embed` takes of one long sequence, with the random weights of presets.

    python -m benchmarks.speed.embedding --letters 1000000

HyenaDNA is built with as many positions as the sequence has. Whole processes: seconds, of a processor too, peak memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.command_line import format_number, parser_of
from benchmarks.speed.variants import save_model
from genomai_cli.alphabet import as_text

POSITIONS = {"hyenadna-tiny": "network.positions"}


def main() -> None:
    """Print a row a preset."""
    parser = parser_of(__doc__, methods=["hyenadna-tiny", "caduceus-ps-tiny"], threads=1)
    parser.add_argument("--letters", type=int, default=1_000_000, metavar="N")
    options = parser.parse_args()
    print("model\tletters\tseconds\tprocessor_seconds\tpeak_mb")
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), options.letters)
    for preset in options.methods:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "long.fa").write_text(f">long\n{as_text(letters)}\n")
            changes = [f"{key}={options.letters + 2}" for key in [POSITIONS.get(preset)] if key]
            save_model(folder / "model", preset, changes)
            print(preset, options.letters, *measure(folder, options.threads), sep="\t", flush=True)


def measure(folder: Path, threads: int) -> list[str]:
    """Seconds, seconds of a processor, MB."""
    command = [sys.executable, "-m", "genomai_cli", "embed", "--model", str(folder / "model")]
    command += ["--threads", str(threads), "-o", str(folder / "out.h5"), str(folder / "long.fa")]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"embed ended with {status}")
    values = (time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    return [format_number(value) for value in values]


if __name__ == "__main__":
    main()
