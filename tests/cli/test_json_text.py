"""JSON of commands: what it cannot hold is null."""

import json
import math

from genomai_cli.cli.run import RunReport


def refuse(constant):
    raise AssertionError(constant)


def test_the_record_of_a_run_holds_no_number_that_json_lacks():
    report = RunReport("x", {"alpha": math.inf}, "now")
    report.details = {"test": {"p": math.nan, "spread": 0.5}, "values": [1, -math.inf, "nan"]}
    document = json.loads(report.to_json(), parse_constant=refuse)
    assert document["arguments"] == {"alpha": None}
    assert document["details"] == {
        "test": {"p": None, "spread": 0.5},
        "values": [1, None, "nan"],
    }
