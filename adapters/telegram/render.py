"""A `Reply` as Telegram HTML and as plain text. Pure; every text is escaped at the leaf."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from core.reply import Block, Bold, Bullets, Heading, Link, Paragraph, Reply, Span, Text
from core.split import clean_text


def to_html(reply: Reply) -> str:
    """Return the reply's blocks as Telegram HTML; "" when it has none."""
    return _blocks(reply, _html_span)


def to_plain(reply: Reply) -> str:
    """Return what `to_html` shows, without any markup."""
    return _blocks(reply, _plain_span)


def keyboard(reply: Reply) -> InlineKeyboardMarkup | None:
    """Return the reply's buttons, or None when it has none."""
    if not reply.buttons:
        return None
    return InlineKeyboardMarkup(
        [
            [
                InlineKeyboardButton(clean_text(button.label), callback_data=button.action)
                for button in row
            ]
            for row in reply.buttons
        ]
    )


def _blocks(reply: Reply, span: Callable[[Span], str]) -> str:
    return "\n\n".join(_block(block, span) for block in reply.blocks)


def _block(block: Block, span: Callable[[Span], str]) -> str:
    match block:
        case Paragraph(spans):
            return "".join(map(span, spans))
        case Heading(text):
            return span(Bold(text))
        case Bullets(items, ordered):
            return "\n".join(
                (f"{n}. " if ordered else "• ") + "".join(map(span, item))
                for n, item in enumerate(items, start=1)
            )


def _html_span(span: Span) -> str:
    match span:
        case Text(text):
            return escape(clean_text(text), quote=False)
        case Bold(text):
            return f"<b>{escape(clean_text(text), quote=False)}</b>" if text else ""
        case Link(text, url):
            if url.startswith("tel:"):  # Telegram drops such links, but finds numbers by itself
                return escape(_plain_span(span), quote=False)
            shown = escape(clean_text(text), quote=False)
            return f'<a href="{escape(clean_text(url))}">{shown}</a>'


def _plain_span(span: Span) -> str:
    match span:
        case Text(text) | Bold(text):
            return clean_text(text)
        case Link(text, url):
            address = clean_text(url.removeprefix("tel:"))
            shown = clean_text(text)
            return shown if address in shown else f"{shown} {address}"
