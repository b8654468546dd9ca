"""Two serving processes agree, for a few seconds; `tests/acceptance/agreement.py` does the same for a minute."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = os.environ.get("TAGROAR_AGREEMENT_SECONDS", "8")


def test_two_processes_agree() -> None:
    command = [sys.executable, "-m", "tests.acceptance.agreement", "--seconds", SECONDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "all equal" in done.stdout
