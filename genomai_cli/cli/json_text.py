"""JSON as commands write it: numbers that it cannot hold, NaN and infinity, are null."""

import math
from collections.abc import Callable, Mapping
from typing import Any


def json_text(facts: Mapping[str, Any], *, default: Callable[[Any], Any] | None = None) -> str:
    """The document, indented, with a final newline; `default` makes what JSON does not know into what it does."""
    import json

    document = _without_nan(facts)
    return json.dumps(document, indent=2, allow_nan=False, default=default) + "\n"


def finite(value: float | None) -> float | None:
    """The number; None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value
