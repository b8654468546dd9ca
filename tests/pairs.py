"""Golden files of pairs: a question of any number of lines, then its answer behind an arrow.

`## name` begins a section, `# …` is a comment. With TAGROAR_UPDATE_GOLDEN=1 the answers are written
anew; review the difference.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ARROW = "  → "
GOLDEN = Path(__file__).parent / "golden"


class Pair(NamedTuple):
    """A question and its answer, in the section of the file."""

    section: str
    question: str
    answer: str


def pairs(text: str, answer: Callable[[str], str] | None = None) -> tuple[list[Pair], str]:
    """The pairs of a text, and the text; with `answer`, both with the answers that it gives."""
    found: list[Pair] = []
    lines: list[str] = []
    section = ""
    question: list[str] = []
    for line in text.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith(ARROW):
            asked = "\n".join(question)
            line = ARROW + answer(asked) if answer else line
            found.append(Pair(section, asked, line.removeprefix(ARROW)))
            question = []
        elif line and not line.startswith("# "):
            question.append(line)
        lines.append(line)
    return found, "\n".join(lines) + "\n"


def golden_pairs(name: str, answer: Callable[[str], str]) -> list[Pair]:
    """The pairs of a golden file."""
    path = GOLDEN / name
    if os.environ.get("TAGROAR_UPDATE_GOLDEN") == "1":
        path.write_text(pairs(path.read_text(), answer)[1])
    return pairs(path.read_text())[0]
