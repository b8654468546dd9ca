"""The image, as far as that goes where none is built: what its recipe names is there, and what it runs can be run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from web.settings import Settings

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n\s*", "", "\n".join(
    line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")))  # fmt: skip
STEPS = [tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line]
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["tagroar"]


def of(word: str) -> list[str]:
    """What follows this instruction, each time."""
    return [rest for first, rest in STEPS if first == word]


def copied() -> list[str]:
    """What is copied of the checkout."""
    return [source for line in of("COPY") if "--from" not in line for source in line.split()[:-1]]


def test_what_is_copied_is_there_and_sent_along() -> None:
    assert "*" in IGNORED
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in IGNORED, source
    assert {line[1:] for line in IGNORED if line.startswith("!")} == set(copied())


def test_only_known_instructions_and_pinned_packages() -> None:
    known = {"FROM", "COPY", "RUN", "WORKDIR", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
             "ENTRYPOINT", "CMD"}  # fmt: skip
    assert {first for first, _ in STEPS} == known
    (installed,) = [line for line in of("RUN") if "pip install" in line]
    assert "--require-hashes" in installed and "requirements/run.txt" in installed
    assert all(re.match(r"python:3\.11-slim\b", image) for image in of("FROM"))


def test_it_runs_as_nobody_in_particular() -> None:
    assert of("USER") == ["10001:10001"]
    places = [place for place, (first, _) in enumerate(STEPS) if first == "USER"]
    assert not [rest for first, rest in STEPS[places[-1] :] if first in ("RUN", "COPY")]
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"] and "/tmp" in COMPOSE["tmpfs"]


def test_settings_are_settings() -> None:
    names = {name for line in of("ENV") for name in re.findall(r"(\w+)=", line)} | COMPOSE["environment"].keys()
    settings = {f"TAGROAR_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in names if name.startswith("TAGROAR_")} <= settings
    (volume,) = of("VOLUME")
    assert f"TAGROAR_DATA={volume}" in of("ENV")[0]
    assert COMPOSE["volumes"] == [f"data:{volume}"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What the image holds of the checkout, and nothing else."""
    for source in copied():
        if source.startswith("requirements"):
            continue
        found = ROOT / source
        if found.is_dir():
            shutil.copytree(
                found, tmp_path / "image" / source, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
            )
        else:
            (tmp_path / "image").mkdir(exist_ok=True)
            shutil.copy(found, tmp_path / "image" / source)
    return tmp_path / "image"


def test_its_command_runs_from_what_is_copied(image: Path, tmp_path: Path) -> None:
    """With a root that cannot be written to, as the container has it."""
    (entry,) = [json.loads(line) for line in of("ENTRYPOINT")]
    assert entry == ["python", "server.py"] and json.loads(of("CMD")[0]) == ["serve"]
    for path in sorted(image.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {"PATH": "/usr/bin:/bin", "TAGROAR_DATA": str(tmp_path / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
    for arguments in (["token", "create", "a", "--scope", "count"], ["token", "list"], ["serve", "--help"]):
        done = subprocess.run(
            [sys.executable, *entry[1:], *arguments],
            cwd=image,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr


def test_its_health_is_that_of_the_service() -> None:
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python" and "/readyz" in command[2]
    compile(command[2], "health", "exec")
