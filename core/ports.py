"""What core needs from the outside, as small Protocols named by role.

Adapters (channels) and models (LLM, fundus reader) implement these; `bot` wires them together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from core.message import Address, Attachment, Inbound, Language
from core.reading import Eye, Reading
from core.reply import Reply

TextUnit = Literal["utf16", "utf8", "characters"]
Activity = Literal["typing", "sending_photo"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, as data.

    Attributes:
        text_limit: longest text of one message, in `text_unit`s.
        caption_limit: longest text under a picture, in `text_unit`s; 0 = pictures go alone.
        text_unit: how the platform counts (Telegram: UTF-16 units; WeChat: UTF-8 bytes).
        buttons: quick replies exist; without them they become numbered lines.
        drafts: a half-written answer can be shown while it grows.
        media_limit_bytes: largest file the channel will fetch for us.
        proactive_window_ms: how long after the patient's last message we may still write first;
            None = always.
        on_unknown: what to do with a message that may or may not have been delivered:
            ``resend`` where the receiver recognises repeats, ``hold`` where it cannot.
        documents: a small text file can go with an answer.
        numbered_parts: say (1/3) on each part of a long answer, where messages may come in
            another order than they were sent.
        voice_limit_bytes: largest voice note that is kept.
    """

    text_limit: int
    caption_limit: int
    text_unit: TextUnit
    buttons: bool
    drafts: bool
    media_limit_bytes: int
    proactive_window_ms: int | None = None
    on_unknown: Literal["resend", "hold"] = "hold"
    documents: bool = False
    numbered_parts: bool = False
    voice_limit_bytes: int = 5 * 1024 * 1024


class Draft(Protocol):
    """An answer shown while it is still being written; best effort, never raises."""

    async def show(self, text: str) -> None:
        """Show `text`, the whole answer so far, when the channel's pace allows it."""
        ...

    async def close(self) -> None:
        """Stop; the final answer comes through `Channel.send` afterwards."""
        ...


class Channel(Protocol):
    """One messenger account."""

    @property
    def name(self) -> str:
        """Adapter name, as in `Address.channel`."""
        ...

    @property
    def account(self) -> str:
        """Our account there, as in `Address.account`."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this channel can do."""
        ...

    async def ready(self, to: Address, *, urgent: bool) -> None:
        """Wait until the channel's own pace allows the next message to this chat.

        Called before the attempt is committed, so that waiting never makes a message uncertain.

        Raises:
            Throttled: it would take long; come back after `retry_after_s`.
        """
        ...

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        """Send one reply that already fits the limits; exactly one platform message.

        Falls back to plain text by itself when the platform refuses the markup.

        Args:
            to: the chat.
            reply: what to say.
            key: ``<transcript id>.<part>``: stable id of this message, for platforms that
                recognise repeats.

        Returns:
            The platform's id of the sent message, if it has one.

        Raises:
            Throttled: try again after `retry_after_s`.
            Unreachable: nothing was accepted; safe to repeat.
            SendUnknown: it may have been delivered.
            SendRefused: it never will be.
        """
        ...

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Fetch an attachment's bytes.

        Raises:
            PatientError: larger than `limit_bytes`, or no longer there.
            TransientError: try again.
        """
        ...

    async def discard(self, attachment: Attachment) -> None:
        """Forget an attachment's bytes where this channel keeps them; otherwise do nothing."""
        ...

    def activity(self, to: Address, what: Activity) -> AbstractAsyncContextManager[None]:
        """Show "typing…" while the block runs; best effort, never raises."""
        ...

    def draft(self, to: Address) -> Draft | None:
        """Start showing a growing answer, or None where the channel or chat cannot."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call as the model wrote it; `arguments` is the raw JSON text, not yet validated."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation as the model sees it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of the model.

    Attributes:
        messages: the whole conversation; the server keeps none of it.
        tools: what the model may call.
        affinity: stable opaque key of the patient, so that a server's prefix cache can be hit.
        max_completion_tokens: hard limit of the answer.
        temperature: in [0, 2].
    """

    messages: Sequence[ChatMessage]
    tools: Sequence[ToolSpec] = ()
    affinity: str = ""
    max_completion_tokens: int = 1024
    temperature: float = 0.3


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the visible answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of one call: the whole visible text, what it wants to call, and what it cost."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


ChatEvent = TextDelta | Completed


class ChatModel(Protocol):
    """An LLM behind an HTTP server."""

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Yield `TextDelta`s and, last, exactly one `Completed`.

        Raises:
            ModelUnavailable: no usable answer; whatever was yielded before must not be kept.
        """
        ...

    def is_healthy(self) -> bool:
        """Tell, without waiting, whether a call is worth trying now."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors whose closeness is closeness in meaning."""

    @property
    def model(self) -> str:
        """Which model; vectors of different ones do not compare."""
        ...

    def is_healthy(self) -> bool:
        """Tell, without waiting, whether a call is worth trying now."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text, in their order, all of the same length.

        Raises:
            ModelUnavailable: no usable answer.
        """
        ...


class FundusReader(Protocol):
    """Reads fundus photos."""

    async def read(self, photo: bytes, *, language: Language, eye: Eye | None = None) -> Reading:
        """Read one photo.

        Args:
            photo: the file as it was sent; any format, not trusted.
            language: of the words on the result card.
            eye: which eye, when the person said so.

        Raises:
            PatientError: the file is not a picture we can open; says why.
            TransientError: too busy now; try again.
            ConfigError: the weights cannot be loaded.
        """
        ...

    async def clean(self, photo: bytes, longest_px: int | None = None) -> bytes:
        """Return the photo as it may be stored or shown: upright, as JPEG, without any metadata.

        Where a camera left a dark surround it is black: names and dates are burned in there.

        Args:
            photo: the file as it was sent; not trusted.
            longest_px: of the longer side, for a smaller copy; None keeps what a camera gives.

        Raises:
            PatientError, TransientError: as `read`.
        """
        ...


# Makes a small copy for a page, as `FundusReader.clean` does: file, longest side in pixels → JPEG.
Shrink = Callable[[bytes, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Health:
    """State of one part of the service, for `/readyz` and `oculichat doctor`."""

    name: str
    ok: bool
    detail: str = ""
    required: bool = True
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


class Intake(Protocol):
    """Where adapters put messages. Returns only after the messages are committed."""

    async def accept(self, messages: Sequence[Inbound]) -> None:
        """Persist messages in order; a message seen before is dropped and counted.

        Only after this returns may an adapter acknowledge them to its platform.

        Raises:
            TransientError: nothing was stored; the platform must deliver again.
        """
        ...


class Blobs(Protocol):
    """Files by content hash, encrypted at rest."""

    async def put(self, data: bytes, *, salt: bytes = b"") -> str:
        """Store bytes and return their id; the same bytes and salt give the same id.

        A salt keeps equal files apart that are discarded one by one.
        """
        ...

    async def get(self, blob: str) -> bytes:
        """Return the bytes.

        Raises:
            PatientError: there is no such file any more (``turn.photo_gone``).
        """
        ...

    async def discard(self, blob: str) -> None:
        """Delete the file; deleting it again changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One entry of a conversation, for channels that show it themselves (web chat).

    Attributes:
        id: transcript id, growing; the cursor of `History.history`.
        author: who said it.
        at_ms: UTC epoch milliseconds.
        text: what the patient wrote; "" for the service's own entries.
        photos: blob ids of the patient's photos.
        voices: one for each of the patient's voice notes: its blob id, "" where we cannot play it.
        reply: what the service said, or None for the patient's entries.
        message_id: `Inbound.message_id` of a patient's entry, so that a page which still shows
            its own unsent copy recognises it; "" otherwise.
    """

    id: int
    author: Literal["patient", "service", "staff"]
    at_ms: int
    text: str = ""
    photos: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    reply: Reply | None = None
    message_id: str = ""


class History(Protocol):
    """Reads a conversation back."""

    async def history(
        self, address: Address, *, after: int = 0, limit: int = 100
    ) -> Sequence[HistoryItem]:
        """Return the newest `limit` entries with an id greater than `after`, oldest first."""
        ...
