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
from ..settings import ReadFields, Settings
from ..users import Document

_parsing = threading.Lock()
"""One message is parsed at a time: many small values take ten times the memory of their bytes. It
takes no longer, since parsing holds Python's interpreter lock."""


@dataclass(frozen=True)
class DocumentEvent:
    """A document that was created, changed or deleted, with the fields that this package reads."""

    id: str
    """The last part of its path."""

    before: Document | None
    """None if there was no document."""

    after: Document | None


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
            core._with_init(handler)(_event(path, raw.get_data(), settings.fields_read[field]))

        return cast(_Handler, serve)

    return declare


def _event(path: str, data: Any, wanted: ReadFields) -> DocumentEvent:
    """Parsed from Protobuf, as Eventarc and the emulator send it, or from its JSON."""
    with _parsing:
        if isinstance(data, bytes):
            message = DocumentEventData.pb().FromString(data)
        else:
            text = data if isinstance(data, str) else json.dumps(data)
            message = DocumentEventData.pb(DocumentEventData.from_json(text))
        before = message.old_value if message.HasField("old_value") else None
        after = message.value if message.HasField("value") else None
        return DocumentEvent(
            id=path.rpartition("/")[2],
            before=read_fields(before.fields, wanted) if before else None,
            after=read_fields(after.fields, wanted) if after else None,
        )
