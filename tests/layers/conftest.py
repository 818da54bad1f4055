"""`off(3, 4, 5)`: these layers are out until the test ends; `off_of_refunds(1, 2, 3)`: those of a refund."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from payments.gateways import base
from tests.layers import switches, switches_of_refunds
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
                keep = () if 2 in layers else (switches.RECORD_OF_LAYER_2,)
                gone = put_back.enter_context(switches.no_constraints(*keep))
                switches.layer_3_off(monkeypatch.setattr)
            if 4 in layers:
                switches.layer_4_off(monkeypatch.setattr)
            if 5 in layers:
                switches.layer_5_off(monkeypatch.setattr)
            return gone

        yield switch_off
    monkeypatch.undo()
    base.gateway.cache_clear()


@pytest.fixture
def off_of_refunds(
    monkeypatch: pytest.MonkeyPatch, transactional_db: None, wide_pool: None
) -> Iterator[Callable[..., list[str]]]:
    """Switch layers 1, 2, 3 and 5 of a refund off by number; it has no layer 4. The names of the constraints that are
    gone with layers 1 and 3."""
    with ExitStack() as put_back:

        def switch_off(*layers: int) -> list[str]:
            of = switches_of_refunds
            if 1 in layers:
                of.layer_1_off(monkeypatch.setattr)
            if 2 in layers:
                of.layer_2_off(monkeypatch.setattr)
            if 3 in layers:
                of.layer_3_off(monkeypatch.setattr)
            if 5 in layers:
                of.layer_5_off(monkeypatch.setattr)
            keep = [] if 1 in layers else [of.RECORD_OF_LAYER_1]
            keep += [] if 2 in layers else [of.RECORD_OF_LAYER_2]
            return put_back.enter_context(of.no_constraints(*keep)) if {1, 3} & {*layers} else []

        yield switch_off
    monkeypatch.undo()
    base.gateway.cache_clear()
