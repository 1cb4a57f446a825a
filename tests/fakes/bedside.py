"""The pages about patients over any store, with nothing that answers or reads behind them."""

from __future__ import annotations

from adapters.console.patient_desk import PatientDesk
from adapters.console.patient_site import Bedside
from adapters.console.walk_in import WalkIns
from core.store.store import Store
from core.takeover import Takeovers, TakeoverSettings
from tests.fakes.core_fakes import FakeBlobs, FakeClock, FakeConversations


def quiet_bedside(store: Store, clock: FakeClock) -> Bedside:
    """Return pages whose messages go nowhere."""
    blobs = FakeBlobs()
    takeovers = Takeovers(
        store, clock, {}, lambda _to, _rows: None, lambda _chat, _token: None, TakeoverSettings()
    )
    walk_ins = WalkIns(store, blobs, FakeConversations(clock), clock, "Asia/Shanghai")
    desk = PatientDesk(store, blobs, "Asia/Shanghai", "zh-Hans")
    return Bedside(desk, takeovers, walk_ins, lambda _version: {}, 5_000_000)
