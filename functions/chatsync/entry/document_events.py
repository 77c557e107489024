"""Cloud functions that are triggered by documents of Firestore.

The SDK's own triggers decode all of both documents before a handler runs, and raise if one of them
holds a reference to another project or database. With these, anybody who may write a document could
make its events fail, so that they are delivered again for a day, or fill an instance's memory.
"""

import functools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import cloudevents.http as ce
from firebase_functions import core
from google.events.cloud.firestore import DocumentEventData

from ..clients.documents import read_fields
from ..settings import Settings
from ..users import FirebaseState

_parsing = threading.Lock()
"""One message is parsed at a time: many small values take ten times the memory of their bytes. It
takes no longer, since parsing holds Python's interpreter lock."""


@dataclass(frozen=True)
class DocumentEvent:
    """A document that was created, changed or deleted, with the fields that this package reads."""

    id: str
    """The last part of its path."""

    before: FirebaseState
    """With this document alone, if there was one."""

    after: FirebaseState


_Handler = Callable[[DocumentEvent], None]


def on_document(
    trigger: Callable[..., Any], field: str, settings: Settings
) -> Callable[[_Handler], _Handler]:
    """Declare a function by a trigger of the SDK's ``firestore_fn``, such as on_document_created.

    ``field`` says of which documents, by the field of ``FirebaseState`` that holds them. The event
    of a failed execution is delivered again. The event is read here, not by the SDK.
    """
    collection = settings.collection_of(field)
    database = settings.config.firestore.database

    def declare(handler: _Handler) -> _Handler:
        pattern = f"{collection}/{{id}}"
        declared = trigger(document=pattern, database=database)(handler)
        # The SDK's decorators of Firestore have no such option, and say False.
        declared.__firebase_endpoint__.eventTrigger["retry"] = True

        @functools.wraps(declared)
        def serve(raw: ce.CloudEvent) -> None:
            path = raw.get_attributes()["document"]
            core._with_init(handler)(_event(path, raw.get_data(), field, settings))

        return cast(_Handler, serve)

    return declare


def _event(path: str, data: Any, field: str, settings: Settings) -> DocumentEvent:
    """Parsed from Protobuf, as Eventarc and the emulator send it, or from its JSON."""
    with _parsing:
        if isinstance(data, bytes):
            message = DocumentEventData.pb().FromString(data)
        else:
            text = data if isinstance(data, str) else json.dumps(data)
            message = DocumentEventData.pb(DocumentEventData.from_json(text))

        def state(side: str) -> FirebaseState:
            found: dict[str, Any] = {}
            if message.HasField(side):
                found[field] = read_fields(
                    getattr(message, side).fields, settings.fields_read[field]
                )
            return FirebaseState(**found)

        return DocumentEvent(path.rpartition("/")[2], state("old_value"), state("value"))
