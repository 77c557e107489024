"""Firebase projects as they occur, into which ``chatsync init`` is to install."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Try:
    """A request that the app's own rules allow or deny; ``stored`` is the document of before."""

    by: str
    how: str
    collection: str
    fields: Fields
    stored: Fields | None
    allowed: bool


@dataclass(frozen=True)
class Shape:
    files: Mapping[str, str]
    at: str = "."
    """The folder of firebase.json."""
    options: tuple[str, ...] = ()
    refused: str = ""
    """What a refusal says; empty if chatsync ends installed."""
    left_out: tuple[str, ...] = ()
    """Sections of the settings for whose collections the app's rules stand."""
    own_tests: tuple[Try, ...] = ()
    rules: str = "firestore.rules"
    database: str = "(default)"

    def write(self, place: Path) -> Path:
        """The project's folder in a place, with all files in it."""
        for path, text in self.files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        return place / self.at

    @property
    def arguments(self) -> list[str]:
        """Of ``chatsync init``, where nobody can answer."""
        key = () if "--from-extension" in self.options else ("--stream-key", "local-key")
        return ["--project", "demo-chatsync", "init", "--yes", *key, *self.options]


def rules(*matches: str) -> str:
    """A file with these in the documents of a database."""
    inside = "".join(f"    {line}\n" for match in matches for line in match.splitlines())
    return (
        "rules_version = '2';\n\nservice cloud.firestore {\n"
        f"  match /databases/{{database}}/documents {{\n{inside}  }}\n}}\n"
    )


POSTS = """\
match /posts/{post} {
  allow read: if request.auth != null;
  allow write: if isAuthor(); // whoever wrote it
}
function isAuthor() {
  return request.auth.uid == request.resource.data.author;
}"""
OF_POSTS = (
    Try("owner", "get", "posts", {}, {"author": "x"}, True),
    Try("stranger", "get", "posts", {}, {"author": "x"}, False),
    Try("owner", "replace", "posts", {"author": "somebody"}, None, False),
    Try("owner", "delete", "posts", {}, {"author": "x"}, False),
)
USERS = """\
function isOwner(uid) { return request.auth != null && request.auth.uid == uid; }
match /users/{uid} {
  allow read: if request.auth != null;
  allow write: if isOwner(uid);
  match /notes/{note} { allow read, write: if isOwner(uid); }
}
match /conversations/{id} {
  allow read, write: if request.auth.uid in resource.data.members;
}"""
OF_USERS = (
    Try("other", "get", "users", {}, {"displayName": "Ann"}, True),
    Try("owner", "replace", "users", {"displayName": "Ann"}, None, True),
    Try("other", "replace", "users", {"displayName": "Ann"}, None, False),
)
WILDCARD = """\
match /{document=**} {
  allow read, write: if request.auth.token.admin == true;
}"""
FIREBASE = """\
{
  "functions": {
    "source": "functions",
    "predeploy": ["npm --prefix \\"$RESOURCE_DIR\\" run lint"]
  },
  "firestore": {
    "rules": "firestore.rules",
    "indexes": "firestore.indexes.json"
  },
  "hosting": { "public": "web", "ignore": ["**/.*"] }
}
"""
NODE = {
    "functions/index.js": "exports.sendMail = require('./mail').sendMail;\n",
    "functions/package.json": '{"main": "index.js", "engines": {"node": "22"}}\n',
}
INDEXES = """\
{
  "indexes": [
    {
      "collectionGroup": "posts",
      "queryScope": "COLLECTION",
      "fields": [
        { "fieldPath": "author", "order": "ASCENDING" },
        { "fieldPath": "at", "order": "DESCENDING" }
      ]
    }
  ],
  "fieldOverrides": []
}
"""
WITH_RULES = {
    **NODE,
    "firebase.json": FIREBASE,
    "firestore.rules": rules(POSTS),
    "firestore.indexes.json": INDEXES,
    ".firebaserc": '{"projects": {"default": "an-app"}}\n',
}

SHAPES: dict[str, Shape] = {
    "Node functions": Shape(WITH_RULES, own_tests=OF_POSTS),
    "Node functions with our names": Shape(
        {
            **WITH_RULES,
            "functions/index.js": "const functions = require('firebase-functions/v1');\n"
            "exports.createStreamUser = functions.auth.user().onCreate(async () => {});\n"
            "exports.ensureStreamUser = functions.https.onCall(async () => {});\n",
        },
        options=("--same-names", "--region", "asia-south1"),
        own_tests=OF_POSTS,
    ),
    "two codebases": Shape(
        {
            "firestore.rules": rules(POSTS),
            "firebase.json": '{"functions": [{"source": "api", "codebase": "api"},'
            ' {"source": "jobs", "codebase": "jobs", "runtime": "python312", "prefix": "job"}],'
            ' "firestore": {"rules": "firestore.rules"}}',
            "api/src/index.ts": "export const pay = onCall(() => 1);\n",
            "jobs/main.py": "def runSweep(event):\n    pass\n",
        },
        own_tests=OF_POSTS,
    ),
    "no rules": Shape(
        {"firebase.json": '{\n\t"functions": {\n\t\t"source": "functions"\n\t}\n}', **NODE}
    ),
    "rules that match users": Shape(
        {**WITH_RULES, "firestore.rules": rules(USERS, POSTS)},
        left_out=("users", "conversations"),
        own_tests=(*OF_USERS, *OF_POSTS),
    ),
    "rules with a recursive wildcard": Shape(
        {**WITH_RULES, "firestore.rules": rules(POSTS, WILDCARD)},
        refused="`match /{document=**}` opens every collection",
    ),
    "a recursive wildcard that only administrators pass": Shape(
        {**WITH_RULES, "firestore.rules": rules(POSTS, WILDCARD)},
        options=("--trust-wildcards",),
        own_tests=OF_POSTS,
    ),
    "a named database": Shape(
        {
            **WITH_RULES,
            "firebase.json": '{\n  "functions": [{ "source": "functions" }],\n'
            '  "firestore": [\n'
            '    { "database": "logs", "rules": "logs.rules" },\n'
            '    { "database": "chat", "rules": "chat.rules", "indexes": "chat.indexes.json" }\n'
            "  ]\n}\n",
            "chat.rules": rules(POSTS),
            "logs.rules": rules("match /{document=**} { allow read; }"),
            "chat.indexes.json": INDEXES,
        },
        options=("--database", "chat"),
        own_tests=OF_POSTS,
        rules="chat.rules",
        database="chat",
    ),
    "a monorepo": Shape(
        {
            "package.json": '{"workspaces": ["apps/*"]}\n',
            "apps/backend/firebase.json": "// deployed by CI\n"
            + FIREBASE.replace('"functions",', '"packages/functions", // built by turbo').replace(
                "\n", "\r\n"
            ),
            "apps/backend/packages/functions/lib/index.js": "module.exports = { pay, refund };\n",
            "apps/backend/firestore.rules": rules(POSTS).replace("\n", "\r\n"),
            "apps/backend/firestore.indexes.json": '{"indexes": []}',
        },
        at="apps/backend",
        own_tests=OF_POSTS,
    ),
    "Stream's extension": Shape(
        {
            **WITH_RULES,
            "firebase.json": FIREBASE.removesuffix("\n}\n") + ',\n  "extensions": {\n'
            '    "auth-chat": "stream/auth-chat@0.1.4"\n  }\n}\n',
            "extensions/auth-chat.env": "LOCATION=europe-west1\nSTREAM_API_KEY=of-the-extension\n"
            "STREAM_API_SECRET=projects/${param:PROJECT_NUMBER}/secrets/"
            "ext-auth-chat-STREAM_API_SECRET/versions/latest\n",
        },
        options=("--from-extension",),
        own_tests=OF_POSTS,
    ),
}
INSTALLED = [name for name, shape in SHAPES.items() if not shape.refused]
