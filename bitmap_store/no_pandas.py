"""Keeps pandas out of a process of ours, where it is installed: Arrow imports it with the first array."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not used in this process", name=fullname)
        return None


def keep_pandas_out() -> None:
    """Makes pandas as good as not installed, for this process. Saves it some 40 MB, and its readers a second in
    which the import would take turns with them on the interpreter."""
    if not any(isinstance(each, _NoPandas) for each in sys.meta_path):
        sys.meta_path.insert(0, _NoPandas())
