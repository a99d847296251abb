"""One run of the program in a process of its own, forked with everything loaded: how it ended, and what it took.

A fault is what a user should never see: a traceback, an "unexpected" error, no or more than one line of refusal, death
by a signal, or more time or memory than allowed.
"""

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS, MEGABYTES = 2.0, 1024.0
LIMIT_SECONDS = 30


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `seconds` are those of the processor, `megabytes` is its peak memory."""

    status: int
    stdout: bytes
    stderr: str
    seconds: float
    megabytes: float

    @property
    def refused(self) -> bool:
        """Whether it ended as it should with bad data or wrong usage."""
        return self.status in (1, 2)

    def fault(self, seconds: float = SECONDS, megabytes: float = MEGABYTES) -> str:
        """The fault of a run, empty if there is none."""
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        if "Traceback" in self.stderr:
            return "a traceback"
        if "unexpected" in self.stderr:
            return "an unexpected error"
        if self.status not in (0, 1, 2):
            return f"status {self.status}"
        if self.status == 1 and not self.stderr.strip():
            return "no message"
        if self.seconds > seconds:
            return f"took {self.seconds:.1f} s"
        if self.megabytes > megabytes:
            return f"took {self.megabytes:.0f} MB"
        return ""


def load_everything() -> None:
    """Import what runs will need, so that forked ones begin with it."""
    import genomai_cli.bundles.bundle
    import genomai_cli.cli.classify
    import genomai_cli.cli.embed
    import genomai_cli.cli.models
    import genomai_cli.inference.classify
    import genomai_cli.inference.embed
    import genomai_cli.phylogeny.genome_input
    import genomai_cli.population.barcode_input
    import genomai_cli.population.haplotype_input  # noqa: F401


def run(
    arguments: Sequence[str | Path],
    stdin: bytes = b"",
    limit: float = LIMIT_SECONDS,
    folder: Path | None = None,
) -> Outcome:
    """`genomai ARGUMENTS` in a forked process, in this folder, killed after `limit` seconds of the processor."""
    with (
        tempfile.TemporaryFile() as stdin_file,
        tempfile.TemporaryFile() as stdout_file,
        tempfile.TemporaryFile() as stderr_file,
    ):
        stdin_file.write(stdin)
        stdin_file.seek(0)
        child = os.fork()
        if child == 0:
            os.chdir(folder or ".")
            _run_child(
                [stdin_file.fileno(), stdout_file.fileno(), stderr_file.fileno()], arguments, limit
            )
        _, wait_status, usage = os.wait4(child, 0)
        seconds = usage.ru_utime + usage.ru_stime
        stdout_file.seek(0)
        stderr_file.seek(0)
        stderr_text = stderr_file.read().decode(errors="replace")
        peak = usage.ru_maxrss / 1024
        for line in stderr_text.splitlines():
            if line.startswith(PEAK):
                peak = int(line.split()[1]) / 1024
        text = "\n".join(line for line in stderr_text.splitlines() if not line.startswith(PEAK))
        return Outcome(
            os.waitstatus_to_exitcode(wait_status), stdout_file.read(), text, seconds, peak
        )


PEAK = "peak-of-this-run"


def _run_child(files: list[int], arguments: Sequence[str | Path], limit: float) -> None:
    status = 70
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, limit)  # of the processor: others use it too
        signal.alarm(int(20 * limit))  # a run that waits for ever
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from genomai_cli.cli.app import main

        status = main([str(argument) for argument in arguments])
        sys.stdout.flush()
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr)
    finally:
        peaks = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(PEAK, peaks[0].split()[1], file=sys.stderr, flush=True)
        os._exit(status)
