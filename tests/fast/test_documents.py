"""The README names what a user of the bundle meets."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def deployed_functions() -> list[str]:
    main = (ROOT / "functions" / "main.py").read_text()
    return re.findall(r"^def ([a-z]+[A-Z]\w*)\(", main, re.MULTILINE)


def table(heading: str) -> list[str]:
    """The first column of the table under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def test_every_function_has_its_line():
    assert table("Functions") == deployed_functions()


def test_every_setting_has_its_line():
    example = (ROOT / "functions" / ".env.example").read_text()
    in_example = set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE))
    assert set(table("Settings")) == in_example | {"STREAM_API_SECRET"}


def test_every_setting_that_is_read_is_in_the_example():
    source = (ROOT / "functions" / "chatsync" / "settings.py").read_text()
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', source))
    assert read == set(table("Settings"))


@pytest.mark.parametrize("target", re.findall(r"^ {4}make ([a-z-]+)", README, re.MULTILINE))
def test_every_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
