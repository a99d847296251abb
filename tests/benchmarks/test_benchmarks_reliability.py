"""The attacks of `benchmarks.reliability`: a few of each, and the fault that each would report."""

import random

from benchmarks.reliability import hostile_inputs, jobs, kills
from benchmarks.reliability.isolated import Outcome


def outcome(status=1, stderr="genomai: x: y", seconds=0.1, megabytes=100.0):
    return Outcome(status, b"", stderr, seconds, megabytes)


def test_a_fault_is_what_a_user_should_never_see():
    assert outcome().fault() == ""
    assert outcome(0, "").fault() == ""
    assert outcome(stderr="genomai: unexpected ValueError: x").fault() == "an unexpected error"
    assert outcome(stderr="Traceback (most recent call last):").fault() == "a traceback"
    assert outcome(status=-11).fault() == "killed by SIGSEGV"
    assert outcome(stderr="").fault() == "no message"
    assert outcome(seconds=3).fault() == "took 3.0 s"
    assert outcome(megabytes=2000).fault() == "took 2000 MB"


def test_broken_inputs_are_the_same_for_a_seed():
    files = hostile_inputs.intact_files()[:5]
    generators = [hostile_inputs.broken_inputs(random.Random(3), files) for _ in range(2)]
    assert [next(generators[0]) for _ in range(50)] == [next(generators[1]) for _ in range(50)]


def test_a_job_that_is_never_killed_is_sound(tmp_path):
    job = next(job for job in jobs.JOBS if job.name == "tokenize")
    inputs = jobs.write_inputs(tmp_path)
    assert jobs.run(job, tmp_path)[0] == 0
    counts = kills.Counter()
    arguments = (job, kills.SIGNALS[0], 600.0, tmp_path, inputs, counts)
    assert kills.killed(*arguments) == ""
    assert counts == {kills.TOO_LATE: 1}
    (tmp_path / job.output).write_bytes(b"other")
    assert "not whole" in kills.killed(*arguments)
