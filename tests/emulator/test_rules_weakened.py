"""Each condition of the rules is needed: without one, somebody gets what is not theirs."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chatsync.operator.rules import rules_for
from tests.emulator.rules_attempts import (
    APPS,
    LEGITIMATE,
    Attempt,
    forgeries,
    is_allowed,
    may_write,
    other_denials,
    oversized,
    project_of,
    requests,
    restore,
    rewrites,
    store,
)
from tests.emulator.rules_client import use_rules

NO_CONDITIONS = ("changedFields", "mapIn")
"""Functions that return no truth value: ``true`` in its place is an error, thus denied."""


def operands(text: str) -> Iterator[tuple[int, int]]:
    """Where the conditions in a part of the rules begin and end, those in parentheses too."""
    for match in re.finditer(
        r"(?:&& |\|\| |return |(?:get|list|read|update|create): if )\(?", text
    ):
        for begin in {match.end(), match.end() - (match[0][-1] == "(")}:
            depth, quoted, end = 0, False, begin
            while depth > 0 or quoted or not re.match(r"\s+(&&|\|\|)|;|\)", text[end:]):
                quoted ^= text[end] == "'" and text[end - 1] != "\\"
                if not quoted:
                    depth += (text[end] in "([{") - (text[end] in ")]}")
                end += 1
            yield begin, end


def weakened(text: str) -> dict[str, str]:
    """The rules with one condition always true, or one guarded field forgotten."""
    found = {}
    for begin, end in operands(text):
        function = re.findall(r"function (\w+)|allow", text[:begin])[-1]
        if function not in NO_CONDITIONS:
            line = text.count("\n", 0, begin) + 1
            where = re.findall(r"match /(\S+)/{", text[:begin])[-1]
            found[f"line {line}, in '{where}': {text[begin:end]}"] = (
                f"{text[:begin]}true{text[end:]}"
            )
    for guard in re.finditer(r"(?:keeps|keepsIn)\((?:'[\w-]+', )?\[('[^\]]+)\], ", text):
        for name in re.finditer(r"'[^']*'", guard[1]):
            begin, end = guard.start(1) + name.start(), guard.start(1) + name.end()
            found[f"forgets {name[0]} in {guard[0]}"] = f"{text[:begin]}'-'{text[end:]}"
    return found


def denials(app: str) -> list[Attempt]:
    """Everything that is denied, in an order in which what shows a weakness comes soon."""
    forged = [
        *(one for one in rewrites(app) if not may_write(app, one.stored, one.fields)),
        *(one for one in forgeries(app) if one.by == "owner"),
    ]
    random.Random(1).shuffle(forged)
    by_others = [replace(one, by="other") for one in LEGITIMATE[app]]
    # No condition stands at a collection that the rules don't name.
    others = [one for one, allowed in requests(app) if not allowed and hasattr(APPS[app], one.of)]
    return [*by_others, *other_denials(app), *oversized(app), *others, *forged]


def names_in(text: str) -> set[str]:
    return set(re.findall(r"'([\w/-]+)'", text))


@pytest.mark.parametrize("app", ["shipped", "nested"])
def test_no_condition_can_be_left_out(emulators, app):
    """``nested`` has every part that the rules of the other apps have."""
    attempts, project = denials(app), project_of(app)
    paths = store(attempts, app)
    names = [
        names_in(f"{one.fields} '{path.rpartition('/')[0]}'")
        for one, path in zip(attempts, paths, strict=True)
    ]
    survivors = []
    for what, weak in weakened(rules_for(APPS[app])).items():
        use_rules(weak, project)
        # Those first that name what the condition names, collection and fields.
        named = names_in(what)
        order = sorted(range(len(attempts)), key=lambda n: -len(named & names[n]))
        shown_by = next((n for n in order if is_allowed(attempts[n], paths[n], project)), None)
        if shown_by is None:
            survivors.append(what)
        else:
            restore([attempts[shown_by]], [paths[shown_by]], app)
    assert survivors == []
