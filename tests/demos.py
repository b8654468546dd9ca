"""The demo as a store of its own, asked through GraphQL with the clock at the end of its data."""

from pathlib import Path

from demo.completejourney import CLOCK
from demo.load import load
from tests.api import Api


def demo(directory: Path) -> Api:
    """The service over the demo."""
    api = Api(directory)
    api.world.run(load(api.world.store, lambda *_: None))
    api.clock.set(CLOCK)
    return api
