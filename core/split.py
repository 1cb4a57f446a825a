"""Cut one `Reply` into parts that fit a channel, and clean text of what platforms refuse.

Pure. Cuts fall at a block, else a line, else a sentence, else a space, and only then anywhere;
never inside a surrogate pair, and inside a combining sequence only where nothing else is left.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from core.ports import Capabilities, TextUnit
from core.reply import (
    Block,
    Bold,
    Bullets,
    Heading,
    Link,
    Paragraph,
    Reply,
    Span,
    Text,
    plain_block,
    plain_spans,
)

_SEPARATOR = "\n\n"  # what `core.reply.plain_text` puts between blocks

# PostgreSQL refuses NUL, UTF-8 refuses lone surrogates, XML (WeChat) refuses the other C0 controls.
_REFUSED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?")

_LINE_END = re.compile(r"\n+")
_SENTENCE_END = re.compile(r"[。！？!?…]+[\"'”’」』）)】]*|\.[\"'”’)]*(?=\s)")
_SPACE = re.compile(r"[^\S\n]+")
# Where a cut leaves too short a part, the next finer kind of cut is better: share of the limit.
_SHORTEST_SHARE = 1 / 3
_SMALLEST_ROOM = 8  # any unit: room for at least two characters
_LONGEST_NUMBER = len("(999/999)")  # what `numbered_parts` adds, in any unit

_ZERO_WIDTH_JOINER = "\u200d"
_LONGEST_CLUSTER = 32  # code points; the longest emoji families have 10, Zalgo text gets cut


def clean_text(text: str) -> str:
    """Return `text` without NUL, other control characters and lone surrogates; line ends as LF."""
    if "\r" in text:
        text = _LINE_ENDS.sub("\n", text)
    return _REFUSED.sub("", text)


def text_size(text: str, unit: TextUnit) -> int:
    """Return how long a platform that counts in `unit`s finds `text`."""
    match unit:
        case "characters":
            return len(text)
        case "utf8":
            return len(text.encode("utf-8"))
        case "utf16":
            return len(text.encode("utf-16-le")) // 2


def longest_prefix(text: str, limit: int, unit: TextUnit) -> str:
    """Return the longest beginning of `text` within `limit` `unit`s, whole code points only."""
    match unit:
        case "characters":
            return text[:limit]
        case "utf8":
            return text.encode("utf-8")[:limit].decode("utf-8", "ignore")
        case "utf16":
            return text.encode("utf-16-le")[: 2 * limit].decode("utf-16-le", "ignore")


def numbered_buttons(reply: Reply, *, first: int = 1) -> Reply:
    """Return `reply` with its buttons as numbered lines, for channels without buttons.

    The lines stand for the buttons row by row, so a bare "2" can be read back; `first` goes on
    from the buttons of an earlier reply of the same turn.
    """
    labels = [button.label for row in reply.buttons for button in row]
    if not labels:
        return reply
    lines = "\n".join(f"{n}. {label}" for n, label in enumerate(labels, start=first))
    return replace(reply, blocks=(*reply.blocks, Paragraph((Text(lines),))), buttons=())


def split(reply: Reply, capabilities: Capabilities) -> list[Reply]:
    """Cut `reply` into parts that each fit one message of the channel, in order.

    The parts' texts, joined, are the reply's text up to the white space at the cuts (and the
    parts' numbers, where the channel wants them). Buttons go
    with the last part (as numbered lines where the channel has none). The picture goes with the
    whole text as its caption when that fits, else in a part of its own before the text. A document
    goes with the last text where that fits a caption, else in a part of its own at the end.

    Returns:
        At least one part; none only for a reply that says and shows nothing.
    """
    if not capabilities.buttons:
        reply = numbered_buttons(reply)
    blocks = [block for block in map(_cleaned, reply.blocks) if not _is_blank(plain_block(block))]
    unit = capabilities.text_unit

    texts = _pack(blocks, capabilities.text_limit, unit)
    if capabilities.numbered_parts and len(texts) > 1:
        room = capabilities.text_limit - len(_SEPARATOR) - _LONGEST_NUMBER
        texts = _numbered(_pack(blocks, room, unit))
    bare = replace(reply, blocks=(), buttons=(), image=None, document=None)
    parts = [replace(bare, blocks=tuple(text)) for text in texts]
    if reply.image is not None:
        image = replace(reply.image, alt=clean_text(reply.image.alt))
        if len(parts) == 1 and _size(blocks, unit) <= capabilities.caption_limit:
            parts[0] = replace(parts[0], image=image)
        else:
            parts.insert(0, replace(bare, image=image))
    if reply.document is not None and capabilities.documents:
        fits = texts and _size(texts[-1], unit) <= capabilities.caption_limit
        if not fits or parts[-1].image is not None:
            parts.append(bare)
        parts[-1] = replace(parts[-1], document=reply.document)
    if parts and reply.buttons:
        parts[-1] = replace(parts[-1], buttons=reply.buttons)
    return parts


def _numbered(texts: list[list[Block]]) -> list[list[Block]]:
    """Mark each part with its place among all of them."""
    return [
        [*text, Paragraph((Text(f"({n}/{len(texts)})"),))] for n, text in enumerate(texts, start=1)
    ]


def _pack(blocks: list[Block], limit: int, unit: TextUnit) -> list[list[Block]]:
    """Fill parts with blocks; a block longer than a part is cut, starting in the current part."""
    parts: list[list[Block]] = []
    part: list[Block] = []
    waiting = list(reversed(blocks))
    while waiting:
        block = waiting.pop()
        room = limit - (_size(part, unit) + len(_SEPARATOR) if part else 0)
        size = text_size(plain_block(block), unit)
        if size <= room:
            part.append(block)
        elif part and (size <= limit or room < max(limit * _SHORTEST_SHARE, _SMALLEST_ROOM)):
            waiting.append(block)
            # A heading stays with what it is the heading of.
            if len(part) > 1 and isinstance(part[-1], Heading):
                waiting.append(part.pop())
            parts.append(part)
            part = []
        else:
            head, rest = _cut(block, room, unit)
            if not _is_blank(plain_block(head)):
                part.append(head)
            if rest is not None:
                if not _is_blank(plain_block(rest)):
                    waiting.append(rest)
                if part:
                    parts.append(part)
                part = []
    if part:
        parts.append(part)
    return parts


def _cut(block: Block, room: int, unit: TextUnit) -> tuple[Block, Block | None]:
    """Cut a block that is longer than `room` in two; no rest when only white space was too much."""
    spans = _stripped(_lines(block))
    text = plain_spans(spans)
    end = len(longest_prefix(text, room, unit))
    if end == len(text):
        return Paragraph(spans), None
    head, rest = _cut_spans(spans, _best_cut(text, end))
    return Paragraph(_stripped(head)), Paragraph(_stripped(rest))


def _best_cut(text: str, end: int) -> int:
    """Return where to cut `text` at or before `end`; at least 1."""
    shortest = end * _SHORTEST_SHARE
    for pattern in (_LINE_END, _SENTENCE_END, _SPACE):
        best = 0
        # One character more than fits: a full stop counts only when white space follows it,
        # and white space at the cut itself is dropped, so it need not fit.
        for found in pattern.finditer(text, 0, end + 1):
            at = found.start() if pattern is not _SENTENCE_END else found.end()
            if at <= end:
                best = at
        if best > shortest:
            return best
    return _cluster_edge(text, end)


def _cluster_edge(text: str, end: int) -> int:
    """Return the nearest edge of a written character at or before `end`, or `end`."""
    for at in range(end, max(0, end - _LONGEST_CLUSTER), -1):
        if _is_edge(text, at):
            return at
    return max(end, 1)


def _is_edge(text: str, at: int) -> bool:
    if at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if _ZERO_WIDTH_JOINER in (before, after):
        return False
    if unicodedata.category(after)[0] == "M" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return False  # an accent, a variation selector, a keycap, a skin tone
    if "\U000e0020" <= after <= "\U000e007f":
        return False  # a flag's tag
    if _is_flag_letter(after):
        run = at
        while run and _is_flag_letter(text[run - 1]):
            run -= 1
        return (at - run) % 2 == 0
    return True


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_blank(text: str) -> bool:
    """Tell whether there is nothing to see: platforms refuse such a message."""
    return not text.strip() or all(unicodedata.category(c)[0] in "CZ" for c in text)


def _size(blocks: list[Block], unit: TextUnit) -> int:
    return text_size(_SEPARATOR.join(map(plain_block, blocks)), unit)


def _lines(block: Block) -> tuple[Span, ...]:
    """Return a block as spans with the same plain text, so that it can be cut anywhere."""
    match block:
        case Paragraph(spans):
            return spans
        case Heading(text):
            return (Bold(text),)
        case Bullets(items, ordered):
            lines: list[Span] = []
            for n, item in enumerate(items, start=1):
                mark = f"{n}. " if ordered else "• "
                lines += (Text(mark if n == 1 else f"\n{mark}"), *item)
            return tuple(lines)


def _cut_spans(spans: tuple[Span, ...], at: int) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Cut spans after `at` characters of their plain text; before a link rather than inside it."""
    head: list[Span] = []
    for n, span in enumerate(spans):
        text = plain_spans((span,))
        if len(text) <= at:
            head.append(span)
            at -= len(text)
            continue
        if at == 0 or (isinstance(span, Link) and not _is_blank(plain_spans(tuple(head)))):
            return tuple(head), spans[n:]
        # A link longer than a whole part cannot stay a link.
        whole = Text(text) if isinstance(span, Link) else span
        left, right = replace(whole, text=text[:at]), replace(whole, text=text[at:])
        return (*head, left), (right, *spans[n + 1 :])
    return tuple(head), ()


def _stripped(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return spans without white space at either end and without empty spans."""
    kept = [span for span in spans if plain_spans((span,))]
    while kept and not isinstance(kept[0], Link):
        if text := kept[0].text.lstrip():
            kept[0] = replace(kept[0], text=text)
            break
        kept.pop(0)
    while kept and not isinstance(kept[-1], Link):
        if text := kept[-1].text.rstrip():
            kept[-1] = replace(kept[-1], text=text)
            break
        kept.pop()
    return tuple(kept)


def _cleaned(block: Block) -> Block:
    match block:
        case Paragraph(spans):
            return Paragraph(tuple(map(_cleaned_span, spans)))
        case Heading(text):
            return Heading(clean_text(text))
        case Bullets(items, ordered):
            return Bullets(tuple(tuple(map(_cleaned_span, item)) for item in items), ordered)


def _cleaned_span(span: Span) -> Span:
    cleaned = clean_text(span.text)
    return span if cleaned == span.text else replace(span, text=cleaned)
