"""The documents name what a user of the bundle meets."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer

from chatsync.audit import steps as findings
from chatsync.config import DEFAULTS, ChannelPattern, CompanyRule, Config
from chatsync.entry.callables import ANSWERS
from chatsync.errors import Refusal
from chatsync.operator import command as cli
from chatsync.operator import sentences
from chatsync.outcome import Parked, Waiting
from chatsync.settings import BEFORE_THE_FILE
from dev import stream_operations
from dev.alerts import ALERTS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
SETTINGS = ROOT / "docs" / "settings.md"
OPERATIONS = ROOT / "docs" / "operations.md"
CALLABLES = ROOT / "docs" / "callables.md"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/README.md")]
DOCUMENTS += [ROOT / "stream_server" / "README.md"]
PACKAGE = ROOT / "functions" / "chatsync"


def section(document: Path, heading: str) -> str:
    text = document.read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)
    assert found, f"{document.name} has no section {heading}"
    level = len(found[1])
    return re.split(rf"^#{{1,{level}}} ", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def table(document: Path, heading: str) -> list[str]:
    """What the first column of the tables under a heading names."""
    cells = re.findall(r"^\| (`[^|]*) \|", section(document, heading), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([\w-]+)[^`]*`", cell)]


def source(module: str) -> str:
    return (PACKAGE / f"{module}.py").read_text()


def deployed_functions() -> list[str]:
    main = (ROOT / "functions" / "main.py").read_text()
    return re.findall(r"^def ([a-z]+[A-Z]\w*)\(", main, re.MULTILINE)


def callables() -> set[str]:
    main = (ROOT / "functions" / "main.py").read_text()
    return set(re.findall(r"^@callable_function\ndef (\w+)\(", main, re.MULTILINE))


def test_every_function_has_its_line():
    assert table(ARCHITECTURE, "Functions") == deployed_functions()


def test_every_callable_has_its_line_and_a_section_with_dart():
    text = CALLABLES.read_text()
    first_column = re.findall(r"^\| \[(`[^\]]*)\]", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_column))) == callables()
    dart = "\n".join(re.findall(r"^```dart\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for name in callables():
        assert f"'{name}'" in dart, name


def test_every_callable_error_has_its_line():
    wanted = {code.value for _, code in ANSWERS} | {"internal"}
    assert wanted <= set(table(CALLABLES, "Errors"))


def test_every_reason_of_a_refusal_has_its_line():
    after = section(CALLABLES, "Errors").split("The `reason` of a `failed-precondition`")[1]
    cells = " ".join(re.findall(r"^\| (`[^|]*) \|", after, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", cells)) == set(Refusal)


def test_the_rules_cap_every_text_that_the_functions_read_in_a_user_document():
    rules = (ROOT / "firestore.rules").read_text().split("match /user_profiles/")[0]
    read = [*DEFAULTS.users.name, *DEFAULTS.users.image, "email", "phoneNumber"]
    assert re.findall(r"isCapped\('(\w+)'", rules) == read


def test_every_field_that_the_rules_cap_has_its_line():
    read = {*DEFAULTS.users.name, *DEFAULTS.users.image, "email", "phoneNumber"}
    assert set(table(CALLABLES, "Profile and statistics")) == read | {"preferences"}


def test_every_setting_has_its_line():
    example = (ROOT / "functions" / ".env.example").read_text()
    in_example = set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE))
    assert set(table(SETTINGS, "The environment")) == in_example | {"STREAM_API_SECRET"}


def test_every_setting_that_is_read_is_in_the_example():
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', source("settings")))
    assert read - set(BEFORE_THE_FILE) == set(table(SETTINGS, "The environment"))


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Config)])
def test_every_key_of_the_file_has_its_line_and_its_default(name):
    text = SETTINGS.read_text()
    heading = "[[channels]]" if name == "channels" else f"[{name}]"
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|", text.split(f"## `{heading}`")[1].split("\n## ")[0], re.M
    )
    kind = ChannelPattern if name == "channels" else type(getattr(DEFAULTS, name))
    defaults = {
        field.name: field.default if field.default_factory is msgspec.NODEFAULT else {}
        for field in msgspec.structs.fields(kind)
    }
    assert [key for key, _ in rows] == list(defaults)
    for key, cell in rows:
        default = defaults[key]
        stated = tomllib.loads(f"value = {cell.strip('`')}")["value"] if cell != "none" else None
        if default is msgspec.NODEFAULT:
            assert stated is None, key
        else:
            in_file = {} if default == CompanyRule() else default
            assert stated == json.loads(msgspec.json.encode(in_file)), key


def test_every_command_has_its_line():
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert set(table(OPERATIONS, "The command")) == set(commands)


def test_every_kind_of_finding_has_its_line():
    assert sorted(table(OPERATIONS, "Findings")) == sorted(findings.KINDS)


def test_every_reason_to_be_parked_has_its_line():
    assert set(table(OPERATIONS, "What is parked")) == set(Parked)


def test_every_reason_of_a_failed_conversation_has_its_line():
    assert set(table(OPERATIONS, "What failed")) == {*Refusal, "not_found"} - {Refusal.LEFT}


def test_every_reason_to_wait_has_its_line():
    assert set(table(OPERATIONS, "What waits")) == set(Waiting)


RUNBOOK = {
    "What is wrong as a whole": sentences.OF_THE_WHOLE,
    "Findings": sentences.FINDINGS,
    "What is parked": sentences.PARKED,
    "What failed": sentences.FAILED,
    "What waits": sentences.WAITING,
}


@pytest.mark.parametrize("heading", RUNBOOK)
def test_the_runbook_says_what_explain_says(heading):
    rows = rows_of(OPERATIONS, heading)
    told = {re.findall(r"`([^`]+)`", cells[0])[0]: (cells[1], cells[-1]) for cells in rows}
    assert told == {str(name): tuple(one) for name, one in RUNBOOK[heading].items()}


def test_the_runbook_says_what_explain_says_of_what_sends_no_events():
    told = {cells[0]: cells[-1] for cells in rows_of(OPERATIONS, "What sends no events")}
    assert told == sentences.WITHOUT_EVENT


def rows_of(document: Path, heading: str) -> list[list[str]]:
    """The cells of a table, without its head and with the texts of its links."""
    lines = re.findall(r"^\| (.*) \|$", section(document, heading), re.MULTILINE)
    return [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", one).split(" | ") for one in lines[1:]]


def test_every_room_and_module_of_the_package_has_its_line():
    text = ARCHITECTURE.read_text()
    rows = re.findall(r"^\| (`[^|]*) \|[^|]*\|([^|]*)\|$", section_of_code(text), re.MULTILINE)
    rooms = {name for room, _ in rows for name in re.findall(r"`(\w+)`", room)}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == modules | packages
    for room, listed in rows:
        inside = {path.stem for path in (PACKAGE / room.strip("`")).glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", listed)) == inside, room


def section_of_code(text: str) -> str:
    return text.split("\n## The code\n")[1]


def test_the_table_of_alerts_is_that_of_the_alerts():
    rows = [row for row in section(OPERATIONS, "Alerts").splitlines() if row.startswith("| ")]
    assert rows[1:] == [alert.row for alert in ALERTS]


MENTIONED = [
    (path, target)
    for path in DOCUMENTS
    for target in re.findall(r"(?:^ {4}|`)(?:\w+=\S+ )?make ([a-z-]+)", path.read_text(), re.M)
]


@pytest.mark.parametrize(("path", "target"), MENTIONED)
def test_every_make_target_of_the_documents_exists(path, target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), path.name


LINKS = [
    (path, link)
    for path in DOCUMENTS
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text())
    if not link.startswith("http")
]


@pytest.mark.parametrize(("path", "link"), LINKS)
def test_every_link_leads_somewhere(path, link):
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    assert target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert not anchor or anchor in anchors


NAMED = [
    (path, document, heading)
    for path in sorted(PACKAGE.rglob("*.py"))
    for document, heading in re.findall(r"(docs/[\w-]+\.md)(?:, ([A-Z][\w' ]+))?", path.read_text())
]


@pytest.mark.parametrize(("path", "document", "heading"), NAMED)
def test_every_document_that_a_message_names_has_what_it_names(path, document, heading):
    headings = re.findall(r"^#+ `?\[?(.*)", (ROOT / document).read_text(), re.MULTILINE)
    assert any(one.lower().startswith(heading.lower()) for one in headings), path.name


def test_the_readme_is_short_and_names_every_document():
    assert len(README.read_text().splitlines()) <= 150
    linked = {link.partition("#")[0] for path, link in LINKS if path == README}
    assert {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} <= linked


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_file_that_a_document_names_exists(path):
    names = re.findall(r"`((?:functions|tests|dev|docs|monitoring)/[\w./]+\w/?)`", path.read_text())
    made_later = {"functions/venv", "functions/venv/bin/python", "functions/.secret.local"}
    ours = {name for name in names if not re.search(r"/\.env\.(local|my)|\.env$", name)}
    for name in ours - made_later:
        assert (ROOT / name).exists(), name


def test_the_table_of_the_local_stream_servers_operations_is_as_they_are():
    text = stream_operations.README.read_text(encoding="utf-8")
    assert stream_operations.with_table(text) == text, "run `python -m dev.stream_operations`"
    assert len(re.findall("<!-- .*operations -->", text)) == 2
