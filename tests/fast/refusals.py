"""What Stream's SDK hears from the local Stream server."""

from collections.abc import Callable
from typing import Any

import pytest
from stream_chat.base.exceptions import StreamAPIException


def refusal(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[int, int]:
    """HTTP status and Stream's code."""
    with pytest.raises(StreamAPIException) as caught:
        call(*args, **options)
    return caught.value.status_code, caught.value.error_code
