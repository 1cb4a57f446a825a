"""What we say, before any platform's markup: a small tree each adapter renders in its own way.

A `Reply` becomes one or more outbox rows (`core.delivery.split`), each small enough for its
channel, so plain text and markup are produced at the very edge and escaped at the leaf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ReplyKind = Literal[
    "answer",  # the answer to what was asked
    "emergency",  # red-flag card: never delayed, repeated rather than lost
    "confirm",  # "is this happening now?"
    "reading",  # what the fundus reader says
    "question",  # the interview asks
    "assessment",  # the interview ends
    "plan",  # a follow-up is proposed or confirmed
    "reminder",  # a follow-up is due
    "consent",  # we ask for consent
    "notice",  # about the service itself: busy, cannot read this, handed to staff
]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain characters; adapters escape them."""

    text: str


@dataclass(frozen=True, slots=True)
class Bold:
    """Emphasis that must survive as plain text too."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link; `url` is http, https or tel."""

    text: str
    url: str


Span = Text | Bold | Link


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph; line breaks inside a span are kept."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A short line above what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list; `ordered` numbers it from 1."""

    items: tuple[tuple[Span, ...], ...]
    ordered: bool = False


Block = Paragraph | Heading | Bullets


@dataclass(frozen=True, slots=True)
class Button:
    """A quick reply.

    Attributes:
        label: what the person reads, ≤ 20 characters so that it fits a small phone.
        action: what comes back as `Inbound.button`: ``v1:<area>:<verb>[:<id>]``, ≤ 64 bytes
            (Telegram's callback_data limit), never free text or a patient's id.
    """

    label: str
    action: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture we made, stored encrypted under its content hash.

    Attributes:
        blob: id of the picture in the blob store.
        mime: ``image/jpeg`` or ``image/png``.
        alt: the same in words, for a screen reader; never empty.
    """

    blob: str
    mime: str
    alt: str


@dataclass(frozen=True, slots=True)
class Document:
    """A small file that goes with an answer, such as a calendar entry; kept in the reply itself.

    Attributes:
        name: file name with its ending, ASCII.
        mime: such as ``text/calendar``.
        text: what is in it, sent as UTF-8.
    """

    name: str
    mime: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    On channels without buttons they become numbered lines; on channels that take no documents the
    document is left out, so the words must do without it.
    """

    kind: ReplyKind
    blocks: tuple[Block, ...]
    buttons: tuple[tuple[Button, ...], ...] = ()
    image: Image | None = None
    document: Document | None = None
    ai_generated: bool = field(default=False)
    # What wrote it, for the record: version of the prompt, and what it rests on; "" = fixed text.
    origin: str = ""


def paragraph(text: str) -> Paragraph:
    """Make a paragraph of plain text."""
    return Paragraph((Text(text),))


def say(kind: ReplyKind, *texts: str, buttons: tuple[tuple[Button, ...], ...] = ()) -> Reply:
    """Make a reply of plain paragraphs, one per text; empty texts are left out."""
    return Reply(kind, tuple(paragraph(t) for t in texts if t), buttons)


def plain_spans(spans: tuple[Span, ...]) -> str:
    """Return spans as plain text; a link keeps its address."""
    return "".join(
        s.text if not isinstance(s, Link) or s.url == s.text else f"{s.text} {s.url}" for s in spans
    )


def plain_block(block: Block) -> str:
    """Return one block as plain text."""
    match block:
        case Paragraph(spans):
            return plain_spans(spans)
        case Heading(text):
            return text
        case Bullets(items, ordered):
            marks = (f"{n}. " if ordered else "• " for n in range(1, len(items) + 1))
            return "\n".join(m + plain_spans(i) for m, i in zip(marks, items, strict=True))


def plain_text(reply: Reply) -> str:
    """Return the whole reply as plain text, without its buttons and picture."""
    return "\n\n".join(plain_block(b) for b in reply.blocks)


def _span_to_json(span: Span) -> dict[str, str]:
    match span:
        case Text(text):
            return {"t": text}
        case Bold(text):
            return {"b": text}
        case Link(text, url):
            return {"a": text, "url": url}


def _span_from_json(data: dict[str, str]) -> Span:
    if "t" in data:
        return Text(data["t"])
    if "b" in data:
        return Bold(data["b"])
    return Link(data["a"], data["url"])


def to_json(reply: Reply) -> dict[str, Any]:
    """Return a JSON-ready form that `from_json` reads back equal."""
    blocks: list[dict[str, Any]] = []
    for block in reply.blocks:
        match block:
            case Paragraph(spans):
                blocks.append({"p": [_span_to_json(s) for s in spans]})
            case Heading(text):
                blocks.append({"h": text})
            case Bullets(items, ordered):
                rows = [[_span_to_json(s) for s in item] for item in items]
                blocks.append({"ul": rows, "ordered": ordered})
    data: dict[str, Any] = {"kind": reply.kind, "blocks": blocks}
    if reply.buttons:
        data["buttons"] = [[[b.label, b.action] for b in row] for row in reply.buttons]
    if reply.image:
        data["image"] = [reply.image.blob, reply.image.mime, reply.image.alt]
    if reply.document:
        data["document"] = [reply.document.name, reply.document.mime, reply.document.text]
    if reply.ai_generated:
        data["ai"] = True
    if reply.origin:
        data["origin"] = reply.origin
    return data


def from_json(data: dict[str, Any]) -> Reply:
    """Read back what `to_json` wrote."""
    blocks: list[Block] = []
    for block in data["blocks"]:
        if "p" in block:
            blocks.append(Paragraph(tuple(_span_from_json(s) for s in block["p"])))
        elif "h" in block:
            blocks.append(Heading(block["h"]))
        else:
            items = tuple(tuple(_span_from_json(s) for s in item) for item in block["ul"])
            blocks.append(Bullets(items, block["ordered"]))
    return Reply(
        data["kind"],
        tuple(blocks),
        tuple(tuple(Button(b[0], b[1]) for b in row) for row in data.get("buttons", ())),
        Image(*data["image"]) if "image" in data else None,
        Document(*data["document"]) if "document" in data else None,
        ai_generated=data.get("ai", False),
        origin=data.get("origin", ""),
    )
