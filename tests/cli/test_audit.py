"""What commands never do, by Python's own audit events: reach for a network, unpickle, start a shell."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
PROGRAM = """
import sys
forbidden = ("socket.connect", "socket.getaddrinfo", "pickle.find_class", "os.system")
def hook(event, arguments):
    if event in forbidden:
        print(f"audited: {event} {arguments}", file=sys.stderr, flush=True)
sys.addaudithook(hook)
from genomai_cli.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", EXAMPLES / "samples.vcf.gz", "--report", "report.html"),
        ("embed", EXAMPLES / "samples.fa", "-o", "vectors.h5"),
        ("generate", "-n", "2"),
        ("models", "list"),
        ("doctor",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_network_no_pickle_no_shell(tmp_path, arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "audited" not in result.stderr


def test_the_audit_reports_what_it_should():
    program = PROGRAM.replace(
        "from genomai_cli.cli.app import main",
        "import pickle, collections; pickle.loads(pickle.dumps(collections.OrderedDict()))\nmain = len",
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "audited: pickle.find_class" in result.stderr
