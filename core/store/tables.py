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
    Text,
    UniqueConstraint,
    false,
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
ROLES = ("nurse", "doctor", "admin")


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
    # The takeover that is going on: staff answer here, and every lease taken from now on says so.
    Column("takeover_id", BigInteger),
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

voice_note = Table(
    "voice_note",
    metadata,
    # A recording that a patient sent, kept as it came.
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("inbox_id", _Id, ForeignKey("inbox.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("blob", String(64), nullable=False),
    # By the file's first bytes, never as claimed.
    Column("mime", String(32), nullable=False),
    # NULL = the file does not say.
    Column("duration_ms", Integer),
    # The messenger wrote down what was said: it stands in the message's text.
    Column("transcribed", Boolean, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    UniqueConstraint("inbox_id", "position"),
    Index("ix_voice_note_conversation", "conversation_id", "id"),
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
    # Whom it is for, as the consult understood it; anything but self = a proxy passes it on.
    Column("person", String(16), nullable=False, server_default="self"),
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
    # The staff's calendar: running plans by the day of the visit, booked or due.
    Index(
        "ix_follow_up_visit",
        "visit_day",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    Index(
        "ix_follow_up_due",
        "due_day",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    Index(
        "ix_follow_up_due_at",
        "due_at_ms",
        sqlite_where=text("state = 'active' AND due_day IS NULL"),
        postgresql_where=text("state = 'active' AND due_day IS NULL"),
    ),
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
    Index("ix_staff_task_conversation", "conversation_id", "id"),
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
    Column("role", String(8), nullable=False, server_default="nurse"),
    # The password was made by us or by an admin: its holder has to choose another.
    Column("must_change", Boolean, nullable=False, server_default=false()),
    # Secret of the one-time codes, and the last time step used; NULL = codes are not on.
    Column("code_sealed", LargeBinary),
    Column("code_step", BigInteger),
    # Hashes of the recovery codes not used yet, sealed JSON.
    Column("recovery_sealed", LargeBinary),
    UniqueConstraint("account"),
    _one_of("role", "role", *ROLES),
)

staff_session = Table(
    "staff_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("staff_id", _Id, ForeignKey("staff.id", ondelete="CASCADE"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    # The password was right, the one-time code is still to come: opens nothing.
    Column("needs_code", Boolean, nullable=False, server_default=false()),
    # Such as "Android, WeChat": lets its holder recognise it in the list.
    Column("device", String(48), nullable=False, server_default=""),
    Index("ix_staff_session_staff", "staff_id"),
)

chat_link = Table(
    "chat_link",
    metadata,
    # Which link of a web chat is in force; the link itself is nowhere on our side.
    Column("chat_id", String(64), primary_key=True),
    Column("link_id", String(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

chat_guest = Table(
    "chat_guest",
    metadata,
    # A browser that came into a web chat by its link: SHA-256 of the cookie, and which chat.
    Column("token_hash", String(64), primary_key=True),
    Column("chat_id", String(64), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Index("ix_chat_guest_chat", "chat_id"),
    Index("ix_chat_guest_seen", "seen_at_ms"),
)

clinic_phone = Table(
    "clinic_phone",
    metadata,
    # A phone that may keep the list of calls for when there is no line: SHA-256 of its cookie.
    Column("id", _Id, primary_key=True),
    Column("token_hash", String(64), nullable=False),
    Column("device", String(48), nullable=False, server_default=""),
    Column("given_by", _Id, ForeignKey("staff.id"), nullable=False),
    Column("given_at_ms", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    UniqueConstraint("token_hash"),
    Index("ix_clinic_phone_given_by", "given_by"),
)

staff_form = Table(
    "staff_form",
    metadata,
    # What was posted already, by a digest of the form: a queue that repeats itself counts once.
    Column("form_id", String(36), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    # Who did or saw what in the console; never what anybody said.
    Column("id", _Id, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("staff_id", _Id, ForeignKey("staff.id")),
    Column("what", String(32), nullable=False),
    # No foreign key: who looked stays known after the patient's data is erased.
    Column("patient_id", _Id),
    # What it was done to: an account, a setting, a channel.
    Column("subject", String(64), nullable=False, server_default=""),
    Index("ix_audit_patient", "patient_id", "id"),
    Index("ix_audit_staff", "staff_id", "id"),
)

setting = Table(
    "setting",
    metadata,
    # What the clinic changed in the console; everything else stands in config.yaml.
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    Column("changed_by", _Id, ForeignKey("staff.id"), nullable=False),
)

takeover = Table(
    "takeover",
    metadata,
    # A time during which staff answered a conversation instead of us; its end hands it back.
    Column("id", _Id, primary_key=True),
    _in_conversation(),
    Column("staff_id", _Id, ForeignKey("staff.id"), nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    # When its holder last took, wrote or asked for more time.
    Column("active_at_ms", BigInteger, nullable=False),
    # Reminders to staff since then that the patient waits.
    Column("nudges", Integer, nullable=False, server_default="0"),
    Column("ended_at_ms", BigInteger),
    Column("ending", String(8)),
    _one_of("ending", "ending", "staff", "idle"),
    Index("ix_takeover_conversation", "conversation_id", "id"),
    Index(
        "ix_takeover_going_on",
        "began_at_ms",
        sqlite_where=text("ended_at_ms IS NULL"),
        postgresql_where=text("ended_at_ms IS NULL"),
    ),
)

reading_review = Table(
    "reading_review",
    metadata,
    # What a doctor says about a photo; the newest row of each doctor counts, none is changed.
    Column("id", _Id, primary_key=True),
    Column("photo_id", _Id, ForeignKey("photo.id", ondelete="CASCADE"), nullable=False),
    Column("staff_id", _Id, ForeignKey("staff.id"), nullable=False),
    # Made with the form, so that a form posted twice is one review.
    Column("form_id", String(36), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("eye", String(2)),
    # NULL = the doctor did not say.
    Column("gradable", Boolean),
    Column("dr_grade", Integer),
    Column("dme", Boolean),
    Column("glaucoma", Boolean),
    Column("amd", Boolean),
    Column("pm", Boolean),
    Column("agrees", Boolean),
    # Of the reading that was on the screen.
    Column("model_version", String(64)),
    Column("comment_sealed", LargeBinary),
    UniqueConstraint("form_id"),
    _one_of("eye", "eye", "OD", "OS"),
    CheckConstraint("dr_grade BETWEEN 0 AND 4", name="dr_grade"),
    Index("ix_reading_review_photo", "photo_id", "id"),
)

voice_hearing = Table(
    "voice_hearing",
    metadata,
    # What somebody on the staff heard in a voice note; none is changed.
    Column("id", _Id, primary_key=True),
    Column("voice_id", _Id, ForeignKey("voice_note.id", ondelete="CASCADE"), nullable=False),
    Column("staff_id", _Id, ForeignKey("staff.id"), nullable=False),
    # Made with the form, so that a form posted twice is one note.
    Column("form_id", String(36), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("words_sealed", LargeBinary, nullable=False),
    # What triage made of these words, for staff.
    Column("verdict_sealed", LargeBinary, nullable=False),
    UniqueConstraint("form_id"),
    Index("ix_voice_hearing_voice", "voice_id", "id"),
)

ilink_login = Table(
    "ilink_login",
    metadata,
    # A WeChat user who scanned our QR code, and the bot that became theirs by it.
    Column("id", _Id, primary_key=True),
    Column("user_id", String(128), nullable=False),
    Column("bot_id", String(64), nullable=False),
    Column("token_sealed", LargeBinary, nullable=False),
    Column("base_url", String(200), nullable=False),
    # How far the long poll is; moves only after the messages are in the inbox.
    Column("cursor_sealed", LargeBinary),
    Column("state", String(8), nullable=False),
    Column("login_at_ms", BigInteger, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
    # Which process polls for it, and until when others keep away.
    Column("poller", String(32)),
    Column("poll_until_ms", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("user_id"),
    _one_of("state", "state", "active", "stale"),
)

ilink_context = Table(
    "ilink_context",
    metadata,
    # What the user's last message allows: so many messages, for so long.
    Column("id", _Id, primary_key=True),
    Column("login_id", _Id, ForeignKey("ilink_login.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(128), nullable=False),
    Column("token_sealed", LargeBinary, nullable=False),
    Column("received_at_ms", BigInteger, nullable=False),
    # Messages sent on it, and refusals in a row.
    Column("sent", Integer, nullable=False, server_default="0"),
    Column("refused", Integer, nullable=False, server_default="0"),
    UniqueConstraint("user_id"),
    Index("ix_ilink_context_login", "login_id"),
)

wechat_token = Table(
    "wechat_token",
    metadata,
    # The access token of one Official Account: one holder, whatever the number of replicas.
    Column("account", String(64), primary_key=True),
    Column("token_sealed", LargeBinary),
    Column("expires_at_ms", BigInteger, nullable=False, server_default="0"),
    # Until when one process asks for a new one and the others wait.
    Column("fetching_until_ms", BigInteger, nullable=False, server_default="0"),
    # When WeChat was last made to void the old one; it allows that rarely.
    Column("forced_at_ms", BigInteger, nullable=False, server_default="0"),
)


def _of_conversation() -> Column[int]:
    """Make the key of a table with at most one row per conversation."""
    parent = ForeignKey("conversation.id", ondelete="CASCADE")
    return Column("conversation_id", _Id, parent, primary_key=True, autoincrement=False)


wechat_chat = Table(
    "wechat_chat",
    metadata,
    # What we may still send to one chat of an Official Account.
    _of_conversation(),
    # The last message, for 48 h, and the last tap, scan or follow, for a minute.
    Column("message_at_ms", BigInteger, nullable=False, server_default="0"),
    Column("message_id", String(192)),
    Column("message_left", Integer, nullable=False, server_default="0"),
    Column("event_at_ms", BigInteger, nullable=False, server_default="0"),
    Column("event_left", Integer, nullable=False, server_default="0"),
    # One-time subscription messages the person has agreed to and we have not sent.
    Column("subscriptions", Integer, nullable=False, server_default="0"),
)

wechat_answer = Table(
    "wechat_answer",
    metadata,
    # Accounts that may only answer inside a push: the one answer that waits for it.
    _of_conversation(),
    Column("message_id", String(192), nullable=False),
    Column("open_until_ms", BigInteger, nullable=False),
    # How often WeChat has asked for it.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("body_sealed", LargeBinary),
    Column("offered_at_ms", BigInteger),
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
IS_RUNNING = text("follow_up.state = 'active'")
IS_RUNNING_WITHOUT_DAY = text("follow_up.state = 'active' AND follow_up.due_day IS NULL")
IS_GOING_ON = text("takeover.ended_at_ms IS NULL")
