"""The JavaScript of docs/callables.md that repeats a call, in Node, with a call that is made up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ROOT / "examples" / "web" / "call_again.mjs"
SCRIPT = """
const { callAgain } = await import(process.argv[1]);
const answers = JSON.parse(process.argv[2]);
const pauses = [];
async function call() {
  const answer = answers.shift();
  if (answer.code) throw answer;
  return answer;
}
const ended = await callAgain(call, async (s) => pauses.push(s)).catch(({ code }) => code);
console.log(JSON.stringify({ ended, pauses }));
"""
BUSY = {"code": "functions/resource-exhausted", "details": {"retryAfterSeconds": 42}}
TOMORROW = {"code": "functions/resource-exhausted", "details": {"retryAfterSeconds": 4_000}}
DOWN = {"code": "functions/unavailable", "details": {"repairQueued": True}}
NOBODY = {"code": "functions/not-found", "details": {"userIds": ["x"]}}
FINE = {"data": "fine"}


@pytest.mark.parametrize("name", ["call_again.mjs", "open_chat.mjs"])
def test_the_code_is_that_of_the_document(name):
    document = (ROOT / "docs" / "callables.md").read_text()
    assert f"```js\n{(CODE.parent / name).read_text()}```" in document


@pytest.mark.parametrize(
    ("answers", "ended", "pauses"),
    [
        ([FINE], "fine", []),
        ([BUSY, FINE], "fine", [42]),
        ([DOWN, DOWN, FINE], "fine", [2, 4]),
        ([BUSY, BUSY, BUSY], BUSY["code"], [42, 42]),
        ([TOMORROW], TOMORROW["code"], []),
        ([NOBODY], NOBODY["code"], []),
    ],
    ids=["at once", "a budget", "an outage", "for long", "until tomorrow", "in vain"],
)
def test_a_call_is_repeated_for_as_long_as_it_can_help(answers, ended, pauses):
    command = ["node", "--input-type=module", "-e", SCRIPT, CODE, json.dumps(answers)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == {"ended": ended, "pauses": pauses}
