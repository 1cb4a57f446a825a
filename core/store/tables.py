"""The tables, for SQLite and PostgreSQL alike.

Times are UTC epoch milliseconds, with an IANA zone name beside them where local time matters
(``DateTime(timezone=True)`` loses its offset on SQLite). Columns called `*_sealed` are encrypted
(`core.store.keyring`); everything a person said, is called or looks like is sealed or a file.

States are short words, checked by the database, so that a query reads like a sentence.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
_Id = BigInteger().with_variant(Integer, "sqlite")

FOLLOW_UP_STATES = (
    *("active", "replaced", "declined", "seen", "stopped"),
    *("refused", "moved", "unreachable", "died"),
)


def _one_of(name: str, column: str, *words: str) -> CheckConstraint:
    allowed = ", ".join(f"'{w}'" for w in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)


def _in_conversation() -> Column[int]:
    """Make the column that ties a row to its conversation, and lets it go with it."""
    parent = ForeignKey("conversation.id", ondelete="CASCADE")
    return Column("conversation_id", _Id, parent, nullable=False)


patient = Table(
    "patient",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("language", String(16)),
    Column("zone", String(64), nullable=False),
    # Left for staff to call, when a plan needs a person.
    Column("phone_sealed", LargeBinary),
    Column("created_at_ms", BigInteger, nullable=False),
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("channel", String(32), nullable=False),
    Column("account", String(64), nullable=False),
    Column("chat_id", String(128), nullable=False),
    Column("patient_id", _Id, ForeignKey("patient.id", ondelete="CASCADE")),
    # Dialog state (`core.turn.state`), sealed JSON.
    Column("state_sealed", LargeBinary),
    # Platform sequence of the last message handled; events that we make ourselves sort behind it.
    Column("last_sequence", BigInteger, nullable=False, server_default="0"),
    # Whoever holds the token may handle this conversation until the lease ends.
    Column("lease_token", String(32)),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("channel", "account", "chat_id"),
)

channel_link = Table(
    "channel_link",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("patient_id", _Id, ForeignKey("patient.id", ondelete="CASCADE"), nullable=False),
    _in_conversation(),
    Column("name_sealed", LargeBinary),
    # False once the platform said that this chat is gone; a new message makes it true again.
    Column("active", Boolean, nullable=False),
    Column("last_inbound_at_ms", BigInteger, nullable=False),
    UniqueConstraint("conversation_id"),
    Index("ix_channel_link_patient", "patient_id"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    # The platform's id, or `reminder:<id>` and the like for events of our own.
    Column("message_id", String(192), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    # NULL once pruned: the row stays as a tombstone so that a late redelivery is recognised.
    Column("body_sealed", LargeBinary),
    Column("state", String(8), nullable=False, server_default="pending"),
    Column("outcome", String(16)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    Column("turn_id", String(40)),
    Column("done_at_ms", BigInteger),
    UniqueConstraint("conversation_id", "message_id"),
    _one_of("state", "state", "pending", "done", "dead"),
    Index(
        "ix_inbox_pending",
        "conversation_id",
        "sequence",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

transcript = Table(
    "transcript",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("turn_id", String(40), nullable=False),
    Column("author", String(8), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("message_id", String(192)),
    Column("at_ms", BigInteger, nullable=False),
    Column("body_sealed", LargeBinary, nullable=False),
    # Triage verdict of a patient's entry, sealed JSON: flags, evidence, rule version.
    Column("verdict_sealed", LargeBinary),
    _one_of("author", "author", "patient", "service", "staff"),
    Index("ix_transcript_conversation", "conversation_id", "id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("transcript_id", _Id, ForeignKey("transcript.id", ondelete="CASCADE"), nullable=False),
    Column("part", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("body_sealed", LargeBinary),
    Column("state", String(8), nullable=False, server_default="pending"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # While `sending`: when another replica may conclude that the sender is gone.
    Column("sending_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("platform_id", String(128)),
    Column("last_error", String(64)),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    UniqueConstraint("transcript_id", "part"),
    _one_of("state", "state", "pending", "sending", "sent", "unknown", "dead"),
    Index(
        "ix_outbox_open",
        "conversation_id",
        "id",
        sqlite_where=text("state IN ('pending', 'sending')"),
        postgresql_where=text("state IN ('pending', 'sending')"),
    ),
)

photo = Table(
    "photo",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("inbox_id", _Id, ForeignKey("inbox.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("blob", String(64), nullable=False),
    Column("card_blob", String(64)),
    # The reading as sealed JSON, or NULL when the file could not be read.
    Column("reading_sealed", LargeBinary),
    Column("model_version", String(64)),
    Column("received_at_ms", BigInteger, nullable=False),
    UniqueConstraint("inbox_id", "position"),
    Index("ix_photo_conversation", "conversation_id", "id"),
)

consent = Table(
    "consent",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("kind", String(16), nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("text_version", String(32), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    _one_of("kind", "kind", "health", "photos", "reminders"),
    Index("ix_consent_conversation", "conversation_id", "id"),
)

follow_up = Table(
    "follow_up",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    # Which rule of which version of the interval table asked for it, and its source.
    Column("rule_id", String(64), nullable=False),
    Column("table_version", String(32), nullable=False),
    Column("source", String(64), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("urgency", String(16), nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    Column("zone", String(64), nullable=False),
    Column("set_by", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    # What it rests on, the photo among it, and what about the person made it sooner.
    Column("basis", String(16), nullable=False, server_default="consult"),
    Column("photo_id", _Id, ForeignKey("photo.id", ondelete="SET NULL")),
    Column("modifiers", String(160), nullable=False, server_default=""),
    # Which cadence of reminders it got (`core.followup.cadence`).
    Column("arm", String(32), nullable=False, server_default="standard"),
    # Days as the calendar in `zone` shows them; NULL = `due_at_ms` in `zone`.
    Column("due_day", String(10)),
    Column("visit_day", String(10)),
    Column("visit_time", String(5)),
    Column("place_sealed", LargeBinary),
    Column("confirmed_at_ms", BigInteger),
    # How it ended: when they were seen, who said so, where and what (sealed JSON).
    Column("outcome_day", String(10)),
    Column("outcome_by", String(8)),
    Column("outcome_sealed", LargeBinary),
    _one_of("state", "state", *FOLLOW_UP_STATES),
    _one_of("basis", "basis", "finding", "triage", "consult", "staff", "patient"),
    Index("ix_follow_up_conversation", "conversation_id", "id"),
    Index("ix_follow_up_photo", "photo_id"),
)

reminder = Table(
    "reminder",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("follow_up_id", _Id, ForeignKey("follow_up.id", ondelete="CASCADE"), nullable=False),
    _in_conversation(),
    Column("step", String(16), nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    # The same in the plan's zone as a clock shows it; NULL = so long after, whatever the clock.
    Column("wall", String(19)),
    Column("state", String(12), nullable=False, server_default="pending"),
    # What became of one that is done: said (by which turn), or handed to staff.
    Column("outcome", String(8)),
    Column("turn_id", String(40)),
    Column("changed_at_ms", BigInteger, nullable=False),
    _one_of("state", "state", "pending", "queued", "done", "cancelled"),
    _one_of("outcome", "outcome", "said", "staff", "passed"),
    Index(
        "ix_reminder_due",
        "due_at_ms",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("ix_reminder_follow_up", "follow_up_id"),
    # Which reminder an outbox row carries, asked before each is sent.
    Index(
        "ix_reminder_turn",
        "turn_id",
        sqlite_where=text("turn_id IS NOT NULL"),
        postgresql_where=text("turn_id IS NOT NULL"),
    ),
)

contact = Table(
    "contact",
    metadata,
    # Another chat that a patient's reminders may go to: their own, or one of their family.
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("contact_id", _Id, ForeignKey("conversation.id", ondelete="CASCADE")),
    Column("kind", String(8), nullable=False),
    # The patient agreed by asking for a code, the other side by saying yes to it.
    Column("agreed_at_ms", BigInteger, nullable=False),
    Column("accepted_at_ms", BigInteger),
    Column("ended_at_ms", BigInteger),
    Column("code_hash", String(64)),
    Column("code_until_ms", BigInteger, nullable=False),
    _one_of("kind", "kind", "same", "family"),
    UniqueConstraint("code_hash"),
    Index("ix_contact_conversation", "conversation_id"),
    Index("ix_contact_contact", "contact_id"),
)

timer = Table(
    "timer",
    metadata,
    # A short delay inside a conversation, for example "first aid after an unanswered question".
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("name", String(32), nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),
    UniqueConstraint("conversation_id", "name"),
    Index("ix_timer_due", "due_at_ms"),
)

staff_task = Table(
    "staff_task",
    metadata,
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("kind", String(16), nullable=False),
    Column("urgency", String(16), nullable=False),
    Column("turn_id", String(40)),
    Column("detail_sealed", LargeBinary, nullable=False),
    Column("state", String(8), nullable=False, server_default="open"),
    Column("claimed_by", _Id),
    Column("note_sealed", LargeBinary),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    # What the patient said about it since: going, not_now, seen, not_seen (`core.turn.card`).
    Column("patient_said", String(16)),
    Column("patient_said_at_ms", BigInteger),
    # When somebody must have acted; later it rises on the worklist.
    Column("deadline_ms", BigInteger),
    # Alerts sent to staff chats so far, and when the next is due; NULL = none (`core.alerts`).
    Column("alerts", Integer, nullable=False, server_default="0"),
    Column("alert_due_ms", BigInteger),
    _one_of("kind", "kind", "emergency", "human", "undelivered", "dead_letter", "follow_up"),
    _one_of("state", "state", "open", "claimed", "done"),
    Index(
        "ix_staff_task_open",
        "state",
        "created_at_ms",
        sqlite_where=text("state <> 'done'"),
        postgresql_where=text("state <> 'done'"),
    ),
    Index(
        "ix_staff_task_alert",
        "alert_due_ms",
        sqlite_where=text("alert_due_ms IS NOT NULL"),
        postgresql_where=text("alert_due_ms IS NOT NULL"),
    ),
)

staff = Table(
    "staff",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("account", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("password_hash", String(256), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("account"),
)

staff_session = Table(
    "staff_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("staff_id", _Id, ForeignKey("staff.id", ondelete="CASCADE"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
)

fact = Table(
    "fact",
    metadata,
    # Small facts about this installation: tzdata version, key check, command menu sent.
    Column("name", String(64), primary_key=True),
    Column("value", String(512), nullable=False),
)

# What the partial indexes cover, spelled out in queries too: with a bound parameter neither
# database can tell that an index fits, and every send would read the whole outbox.
IS_WAITING = text("inbox.state = 'pending'")
IS_UNSENT = text("outbox.state IN ('pending', 'sending')")
IS_OPEN_TASK = text("staff_task.state <> 'done'")
IS_TO_ALERT = text("staff_task.alert_due_ms IS NOT NULL")
IS_TO_COME = text("reminder.state = 'pending'")
