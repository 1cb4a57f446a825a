"""A `Reply` as WeChat shows it: plain text. WeChat has no markup, no buttons and no link titles.

Buttons are numbered lines by the time a reply comes here (`core.split`), and a typed "2" finds its
way back in `core.turn.words`; a reply too long for one message comes in parts marked (1/3).
"""

from __future__ import annotations

from core.ports import Capabilities
from core.reply import Block, Bold, Bullets, Heading, Link, Paragraph, Reply, Span, Text
from core.split import clean_text

# developers.weixin.qq.com, passive replies: 2048 bytes. The rest is room for a line of ours.
TEXT_LIMIT_BYTES = 2048
OWN_LINE_BYTES = 160


def capabilities(*, media_limit_bytes: int, proactive_window_ms: int | None = None) -> Capabilities:
    """Return what every way to WeChat can do.

    Args:
        media_limit_bytes: largest file this way can fetch.
        proactive_window_ms: how long after the patient's last message it can write first.
    """
    return Capabilities(
        text_limit=TEXT_LIMIT_BYTES - OWN_LINE_BYTES,
        caption_limit=0,
        text_unit="utf8",
        buttons=False,
        drafts=False,
        media_limit_bytes=media_limit_bytes,
        proactive_window_ms=proactive_window_ms,
        numbered_parts=True,
    )


def to_text(reply: Reply) -> str:
    """Return the reply's words; "" when it has none (a picture without words)."""
    return "\n\n".join(filter(None, map(_block, reply.blocks)))


def words_for_picture(reply: Reply) -> str:
    """Return what to say instead of the reply's picture when that cannot be sent."""
    alt = clean_text(reply.image.alt) if reply.image is not None else ""
    return "\n\n".join(filter(None, (alt, to_text(reply))))


def _block(block: Block) -> str:
    match block:
        case Paragraph(spans):
            return "".join(map(_span, spans))
        case Heading(text):
            return clean_text(text)
        case Bullets(items, ordered):
            return "\n".join(
                (f"{n}. " if ordered else "• ") + "".join(map(_span, item))
                for n, item in enumerate(items, start=1)
            )


def _span(span: Span) -> str:
    match span:
        case Text(text) | Bold(text):
            return clean_text(text)
        case Link(text, url):
            # WeChat makes addresses and telephone numbers tappable by itself.
            shown, address = clean_text(text), clean_text(url.removeprefix("tel:"))
            return shown if address in shown else f"{shown} {address}"
