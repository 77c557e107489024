"""Values of Firestore as JSON."""

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def json_value(value: Any) -> Any:
    """A value of Firestore as JSON; an app may store a value of any type."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(name): json_value(inner) for name, inner in value.items()}
        case list():
            return [json_value(inner) for inner in value]
        case None | bool() | int() | str():
            return value
    return str(value)
