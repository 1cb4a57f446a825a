"""History entries as HTML: a small tree in, markup out, escaped at every leaf."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from jinja2 import Environment
from markupsafe import Markup, escape

from adapters.http.language import Texts, texts_in
from core.message import Language
from core.ports import HistoryItem
from core.reply import Block, Bold, Bullets, Heading, Link, Paragraph, Reply, Span, Text
from core.split import clean_text

_LINK_SCHEMES = frozenset({"http", "https", "tel"})
# Kinds that are told apart at a glance; the rest are plain answers.
_LABELLED = frozenset({"emergency", "confirm", "reading", "assessment", "plan", "reminder"})

# Their buttons outlive the next message; `chat.js` names the same kinds.
_LASTING = frozenset({"emergency", "plan", "reminder"})


def span_html(span: Span) -> Markup:
    """Return one span; a link to anything but http, https and tel becomes plain words."""
    match span:
        case Text(text):
            return escape(text)
        case Bold(text):
            return Markup("<strong>{}</strong>").format(text)
        case Link(text, url):
            return _link_html(text, url)


def _link_html(text: str, url: str) -> Markup:
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in _LINK_SCHEMES:
        return escape(text if url == text else f"{text} {url}")
    if scheme == "tel":
        return Markup('<a class="call" href="{}">{}</a>').format(url, text)
    return Markup('<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>').format(url, text)


def _spans_html(spans: tuple[Span, ...]) -> Markup:
    return Markup("").join(span_html(span) for span in spans)


def block_html(block: Block) -> Markup:
    """Return one block."""
    match block:
        case Paragraph(spans):
            return Markup("<p>{}</p>").format(_spans_html(spans))
        case Heading(text):
            return Markup("<h2>{}</h2>").format(text)
        case Bullets(items, ordered):
            rows = Markup("").join(Markup("<li>{}</li>").format(_spans_html(i)) for i in items)
            return (Markup("<ol>{}</ol>") if ordered else Markup("<ul>{}</ul>")).format(rows)


def reply_html(reply: Reply) -> Markup:
    """Return the words of a reply, without its buttons and picture."""
    return Markup("").join(block_html(block) for block in reply.blocks)


def press_id(chat_id: str, item_id: int, action: str) -> str:
    """Return the message id of pressing this button: however often, it is one message."""
    return str(uuid5(NAMESPACE_URL, f"oculichat:{chat_id}:{item_id}:{action}"))


class Renderer:
    """Turns history entries into the page's articles.

    Args:
        templates: has ``message.html``.
        zone: of the times shown.
    """

    def __init__(self, templates: Environment, zone: ZoneInfo) -> None:
        self._message = templates.get_template("message.html")
        self._zone = zone

    def item(
        self,
        item: HistoryItem,
        *,
        chat_id: str,
        language: Language,
        now_ms: int,
        with_buttons: bool = True,
    ) -> Markup:
        """Return one entry as an ``<article>``.

        Args:
            item: the entry.
            chat_id: whose; makes the ids of its buttons.
            language: of the labels around the words.
            now_ms: the present, so that today's times need no date.
            with_buttons: false for a question that has been answered.
        """
        reply = item.reply
        say = texts_in(language)
        # A photo that was refused, or a button nobody knows any more: still the person's message.
        is_shown = item.text or item.photos or item.voices
        own_words = item.text if is_shown else say("webchat.received")
        rows = reply.buttons if reply and with_buttons else ()
        article = self._message.render(
            item=item,
            reply=reply,
            words=reply_html(reply) if reply else own_words,
            label=say(f"webchat.kind.{reply.kind}") if reply and reply.kind in _LABELLED else "",
            buttons=[
                (button.label, button.action, press_id(chat_id, item.id, button.action))
                for row in rows
                for button in row
            ],
            iso=datetime.fromtimestamp(item.at_ms / 1000, self._zone).isoformat("T", "seconds"),
            time=self.time(item.at_ms, now_ms, say),
            t=say,
        )
        return Markup(clean_text(article))  # noqa: S704 the template escapes

    def time(self, at_ms: int, now_ms: int, say: Texts) -> str:
        """Return a time as people say it: only the clock today, with the date before."""
        at = datetime.fromtimestamp(at_ms / 1000, self._zone)
        clock = f"{at:%H:%M}"
        if at.date() == datetime.fromtimestamp(now_ms / 1000, self._zone).date():
            return clock
        month = say("webchat.months").split()[at.month - 1]
        return say("webchat.date", month=month, day=at.day, clock=clock)


def with_open_buttons(items: Sequence[HistoryItem], chat_id: str) -> frozenset[int]:
    """Return the ids of the entries whose buttons can still be pressed.

    A question is open until the person writes; an emergency card, a plan and a reminder until one
    of their own buttons was pressed or a newer one of their kind arrived.
    """
    last = max((item.id for item in items if item.author == "patient"), default=0)
    heard = {item.message_id for item in items if item.author == "patient"}
    newest = {item.reply.kind: item.id for item in items if item.reply}
    return frozenset(
        item.id
        for item in items
        if item.reply
        and (item.id > last or (item.reply.kind in _LASTING and newest[item.reply.kind] == item.id))
        and not any(
            press_id(chat_id, item.id, button.action) in heard
            for row in item.reply.buttons
            for button in row
        )
    )
