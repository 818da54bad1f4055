"""`off(3, 4, 5)`: these layers are out until the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from payments.gateways import base
from tests.layers import switches
from tests.races.crowd import wide_pool

__all__ = ["wide_pool"]


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch, transactional_db: None, wide_pool: None) -> Iterator[Callable[..., list[str]]]:
    """Switch layers 2 to 5 off by number; the names of the constraints that are gone with layer 3."""
    with ExitStack() as put_back:

        def switch_off(*layers: int) -> list[str]:
            gone: list[str] = []
            if 2 in layers:
                switches.layer_2_off(monkeypatch.setattr)
            if 3 in layers:
                keep = "" if 2 in layers else switches.RECORD_OF_LAYER_2
                gone = put_back.enter_context(switches.no_constraints(keep))
                switches.layer_3_off(monkeypatch.setattr)
            if 4 in layers:
                switches.layer_4_off(monkeypatch.setattr)
            if 5 in layers:
                switches.layer_5_off(monkeypatch.setattr)
            return gone

        yield switch_off
    monkeypatch.undo()
    base.gateway.cache_clear()
