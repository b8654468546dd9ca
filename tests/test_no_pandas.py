"""Arrow does without pandas in the processes of ours, also where pandas is installed."""

import importlib.util
import subprocess
import sys

SAY = "import sys, numpy, pyarrow; pyarrow.array(numpy.arange(3)); print('pandas' in sys.modules)"
KEPT_OUT = "from bitmap_store.no_pandas import keep_pandas_out; keep_pandas_out(); "


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_pandas_stays_out() -> None:
    assert importlib.util.find_spec("pandas") is not None
    assert said(KEPT_OUT + SAY) == "False"
    assert said(SAY) == "True"  # or there would be nothing to keep out
