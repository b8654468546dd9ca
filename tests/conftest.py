"""What all tests share: the profiles of Hypothesis, an empty store to copy, and the worlds of the contract suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.api import Api
from tests.worlds import CachedWorld, FoldingWorld, OracleWorld, StillClock, StoreWorld, World, copied

# The gate says the same of the same code; deep runs look for what nobody has seen yet.
settings.register_profile("quick", deadline=None, max_examples=100, stateful_step_count=12, derandomize=True)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, stateful_step_count=100, suppress_health_check=list(HealthCheck)
)
settings.load_profile("quick")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store that was opened and closed; copying it is faster than making one."""
    directory = tmp_path_factory.mktemp("empty") / "store"
    StoreWorld(directory, StillClock()).close()
    return directory


@pytest.fixture
def store_world(empty_store: Path, tmp_path: Path) -> Iterator[StoreWorld]:
    """A new store."""
    world = StoreWorld(copied(empty_store, tmp_path / "store"), StillClock())
    yield world
    world.close()


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    """The service on a new store that has the tag vip."""
    found = Api(copied(empty_store, tmp_path / "store"))
    found.define("vip")
    yield found
    found.close()


@pytest.fixture
def folding_world(empty_store: Path, tmp_path: Path) -> Iterator[StoreWorld]:
    """A new store that folds after every write, and has no files to map."""
    world = FoldingWorld(copied(empty_store, tmp_path / "folding"), StillClock(), mapped=False)
    yield world
    world.close()


@pytest.fixture
def cached_world(empty_store: Path, tmp_path: Path) -> Iterator[StoreWorld]:
    """A new store that folds and builds its cache after every write."""
    world = CachedWorld(copied(empty_store, tmp_path / "cached"), StillClock())
    yield world
    world.close()


@pytest.fixture(params=["sqlite", "folded", "cached", "oracle"])
def world(request: pytest.FixtureRequest) -> World:
    """A new world on each engine."""
    if request.param == "oracle":
        return OracleWorld(StillClock())
    names = {"sqlite": "store_world", "folded": "folding_world", "cached": "cached_world"}
    found: StoreWorld = request.getfixturevalue(names[request.param])
    return found
