"""A whole core over a real SQLite file, with a scripted channel and a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.delivery import Delivery
from core.dispatch import Dispatcher, DispatchLimits
from core.intake import StoreIntake
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.ports import Capabilities
from core.reply import Reply, from_json, paragraph, plain_text
from core.store.blobs import BlobStore
from core.store.history import PATIENT_BODY, SERVICE_BODY
from core.store.inbox import count_inbox
from core.store.keyring import load_or_create
from core.store.outbox import count_outbox
from core.store.store import Store
from core.store.tables import conversation, inbox, staff, transcript
from core.takeover import Chat, Takeovers, TakeoverSettings
from core.triage.engine import assess
from core.turn.turn import TurnHandler, TurnSettings
from migrations.schema import create
from tests.fakes.core_fakes import FakeClock
from tests.fakes.waiting import PATIENCE_S

HERE = ("test", "me")
MODEL_SAYS = "模型这样回答。"


class Messenger:
    """Keeps what was sent; its photos are files by reference."""

    name, account = HERE

    def __init__(self) -> None:
        self.sent: list[tuple[str, Reply]] = []
        self.files: dict[str, bytes] = {}
        self.capabilities = Capabilities(4000, 1000, "characters", True, False, 10_000_000)

    async def ready(self, to: Address, *, urgent: bool) -> None:
        return

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        self.sent.append((to.chat_id, reply))
        return key

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        return self.files[attachment.ref]

    async def discard(self, attachment: Attachment) -> None:
        self.files.pop(attachment.ref, None)

    def activity(self, to: Address, what: str) -> Any:
        return nullcontext()

    def draft(self, to: Address) -> None:
        return None


class SlowAssistant:
    """A model that takes its time and always says the same."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.asked = 0

    def is_ready(self) -> bool:
        return True

    async def answer(self, answer: Any, words: str, address: Address, channel: Any) -> bool:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        answer.say(Reply("answer", (paragraph(MODEL_SAYS),), origin="model"))
        return True


@dataclass
class Said:
    """One transcript row in plain words."""

    id: int
    author: str
    kind: str
    turn_id: str
    words: str
    origin: str = ""


@dataclass
class World:
    store: Store
    clock: FakeClock
    messenger: Messenger
    blobs: BlobStore
    dispatcher: Dispatcher
    delivery: Delivery
    intake: StoreIntake
    takeovers: Takeovers
    _sequence: int = 0

    async def write(self, chat: str, words: str, photo: bytes | None = None, **fields: Any) -> None:
        """Have the patient write."""
        self._sequence += 1
        attachments: tuple[Attachment, ...] = ()
        if photo is not None:
            ref = f"file-{self._sequence}"
            self.messenger.files[ref] = photo
            attachments = (Attachment(AttachmentKind.PHOTO, ref),)
        await self.intake.accept(
            [
                Inbound(
                    Address(*HERE, chat),
                    f"m{self._sequence}",
                    self._sequence,
                    words,
                    attachments,
                    **fields,
                )
            ]
        )

    async def settle(self, *others: World) -> None:
        """Wait until every message has had its turn and every reply has left."""
        async with asyncio.timeout(PATIENCE_S):
            quiet = 0
            while quiet < 3:
                busy = any(
                    w.dispatcher.open_lanes or w.delivery.open_queues or w.dispatcher._tasks
                    for w in (self, *others)
                )
                quiet = 0 if busy else quiet + 1
                await asyncio.sleep(0.002)
                if quiet == 3 and others and await self._is_open():
                    quiet = 0
                    for w in (self, *others):  # what the ticker does
                        await w.dispatcher.claim_waiting()
                        await w.delivery.recover(only_user=False)

    async def _is_open(self) -> bool:
        unsent = (await self.store.read(count_outbox, None)).by_state
        waiting = (await self.store.read(count_inbox, None)).pending
        return bool(waiting or unsent.get("pending") or unsent.get("sending"))

    def chat(self, chat_id: str) -> Chat:
        with self.store._read_engine.connect() as connection:
            number = connection.execute(
                select(conversation.c.id).where(conversation.c.chat_id == chat_id)
            ).scalar_one()
        return Chat(number, Address(*HERE, chat_id), "zh-Hans")

    def heard(self, chat: str) -> list[str]:
        return [plain_text(reply) for to, reply in self.messenger.sent if to == chat]

    def transcript(self, conversation_id: int) -> list[Said]:
        with self.store._read_engine.connect() as connection:
            rows = connection.execute(
                select(transcript)
                .where(transcript.c.conversation_id == conversation_id)
                .order_by(transcript.c.id)
            ).all()
        keys = self.store.keys
        said = []
        for row in rows:
            if row.author == "patient":
                words, origin = keys.open_json(PATIENT_BODY, row.body_sealed)["text"], ""
            else:
                reply = from_json(keys.open_json(SERVICE_BODY, row.body_sealed))
                words, origin = plain_text(reply), reply.origin
            said.append(Said(row.id, row.author, row.kind, row.turn_id, words, origin))
        return said

    def outcomes(self, conversation_id: int) -> dict[str, str | None]:
        """Return how each message ended, by its id."""
        with self.store._read_engine.connect() as connection:
            rows = connection.execute(
                select(inbox.c.message_id, inbox.c.outcome).where(
                    inbox.c.conversation_id == conversation_id
                )
            ).all()
        return {row.message_id: row.outcome for row in rows}


@asynccontextmanager
async def world(
    tmp_path: Path,
    *,
    assistant: Any = None,
    reader: Any = None,
    consent_required: bool = False,
    settings: TakeoverSettings | None = None,
    url: str | None = None,
) -> AsyncIterator[World]:
    if url is None:
        url = f"sqlite:///{tmp_path / 'takeover.db'}"
        if not (tmp_path / "takeover.db").exists():
            create(url)
    keys = load_or_create(tmp_path / "keys.json")
    store, clock, messenger = Store(url, keys), FakeClock(), Messenger()
    channels: Any = {HERE: messenger}
    blobs = BlobStore(tmp_path / "blobs", keys)
    handler = TurnHandler(
        store,
        clock,
        TurnSettings(consent_required=consent_required),
        channels,
        blobs,
        reader,
        assistant,
    )
    delivery = Delivery(store, clock, channels)
    dispatcher = Dispatcher(
        store,
        clock,
        handler,
        delivery.deliver,
        lambda m: not m.button and bool(m.text) and assess(m.text).action == "trigger",
        DispatchLimits(merge_window_ms=0, drain_s=2),
    )
    takeovers = Takeovers(
        store,
        clock,
        channels,
        delivery.deliver,
        dispatcher.fence_moved,
        settings or TakeoverSettings(),
    )
    intake = StoreIntake(store, clock, dispatcher, "Asia/Shanghai")
    await store.write(_staff, None)
    yield World(store, clock, messenger, blobs, dispatcher, delivery, intake, takeovers)
    await dispatcher.stop()
    await delivery.stop(drain_s=2)
    store.close()


def _staff(connection: Any, _arguments: Any) -> list[None]:
    if connection.execute(select(staff.c.id)).first() is None:
        for number, name in ((1, "王护士"), (2, "李医生")):
            connection.execute(
                staff.insert(),
                {
                    "id": number,
                    "account": f"staff{number}",
                    "name": name,
                    "password_hash": "",
                    "active": True,
                    "created_at_ms": 0,
                },
            )
    return [None]
