"""One photo from bytes to `Reading`, synchronously: intake → field → gate → quality → heads → card.

Loaded at the first photo (numpy, Pillow and onnxruntime come with it); `reader` calls it in its
executor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.message import Language
from core.reading import (
    CONDITIONS,
    Area,
    Areas,
    Condition,
    Eye,
    EyeSource,
    Finding,
    Outcome,
    Reading,
    RetakeCause,
)
from models.fundus import areas, card, field, intake, laterality, manifest, quality
from models.fundus.network import Network
from models.fundus.original import LABEL, OriginalNetwork
from models.fundus.settings import FundusSettings

# Enough for a 448 px network and a 720 px card when the retina fills the photo; a messenger's
# 1280 px JPEG then decodes at half size. Where the retina is small, DETAILED_PX is decoded instead.
WORKING_PX, DETAILED_PX = 640, 2048
# Ungradable, yet nothing measurable is wrong: a sharper photo is the likeliest help.
_UNNAMED: tuple[RetakeCause, ...] = ("blur",)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one reading went, in milliseconds."""

    decode_ms: float
    network_ms: float
    card_ms: float
    total_ms: float


class Decode(Protocol):
    """`intake.decode`, here or in a process of its own."""

    def __call__(
        self, data: bytes, *, max_bytes: int, max_pixels: int, working_px: int | None
    ) -> intake.Photo:
        """Decode a file."""
        ...


class Assessor:
    """Everything loaded: weights, sessions, limits. Not thread-safe: one worker owns it."""

    def __init__(self, settings: FundusSettings, decode: Decode = intake.decode) -> None:
        """Load the weights.

        Args:
            settings: see there.
            decode: what opens the files; the default is for files that are known.

        Raises:
            ConfigError: weights or the original network are missing or not what they claim.
        """
        self._settings = settings
        self._decode = decode
        self.manifest, path = manifest.load(settings.weights)
        self.network = Network(
            path,
            size_px=self.manifest.size_px,
            channels=len(self.manifest.channels),
            provider=settings.provider,
            threads=settings.threads,
        )
        self.original = (
            OriginalNetwork(
                settings.original_model,
                preprocessing=settings.original_preprocessing,
                provider=settings.provider,
                threads=settings.threads,
            )
            if settings.original_model is not None
            else None
        )
        self.timing = Timing(0.0, 0.0, 0.0, 0.0)

    @property
    def model_version(self) -> str:
        """What is shown with every result."""
        return self.manifest.label if self.original is None else f"{self.manifest.label} + {LABEL}"

    @property
    def assessed(self) -> tuple[Condition, ...]:
        """Conditions some loaded head answers."""
        original: set[Condition] = {"dr", "glaucoma", "amd", "pm"} if self.original else set()
        return tuple(c for c in CONDITIONS if self.manifest.assesses(c) or c in original)

    def warm_up(self) -> None:
        """Run everything once, so that the first photo does not pay for it."""
        self.network.run(np.zeros((self.network.size_px, self.network.size_px, 3), np.uint8))
        if self.original is not None:
            self.original.run(np.zeros((64, 64, 3), np.uint8))
        card.load_fonts()

    def assess(
        self,
        data: bytes,
        *,
        language: Language,
        eye: Eye | None,
        day: date | None = None,
        with_card: bool = True,
    ) -> Reading:
        """Read one photo.

        Args:
            data: the file as it was sent.
            language: of the words on the card.
            eye: which eye, when the person said so.
            day: written on the card.
            with_card: false leaves the picture out, for readings by the thousand.

        Raises:
            PatientError: the file cannot be opened; says why.
        """
        start = time.perf_counter()
        parts = self._open(data)
        decode_ms = (time.perf_counter() - start) * 1e3
        told = eye if len(parts) == 1 else None  # one word cannot name both
        eyes = [
            self._assess(part, language=language, told=told, day=day, with_card=with_card)
            for part in parts
        ]
        # Of two round things beside each other one may be no eye at all.
        seen = [e for e in eyes if e.outcome != "not_fundus"] or eyes[:1]
        total_ms = (time.perf_counter() - start) * 1e3
        self.timing = replace(self.timing, decode_ms=decode_ms, total_ms=total_ms)
        first, *others = (replace(e, elapsed_ms=total_ms) for e in seen)
        return replace(first, other=others[0]) if others else first

    def _assess(
        self,
        part: _Part,
        *,
        language: Language,
        told: Eye | None,
        day: date | None,
        with_card: bool,
    ) -> Reading:
        photo, found = part.photo, part.field
        square = field.square(photo.pixels, found, self.network.size_px)
        side = laterality.side(square)
        before = time.perf_counter()
        logits, maps = self._run(square, side)
        network_ms = (time.perf_counter() - before) * 1e3
        screened = self._screen(logits, square, found, photo)

        which = _Which(photo.eye or told, _source(photo.eye, told))
        findings = tuple(Finding(c, "not_assessed") for c in CONDITIONS)
        grade: int | None = None
        at_least: tuple[float, ...] = ()
        if screened.outcome == "assessed":
            before = time.perf_counter()
            findings, grade, at_least = self._findings(logits, photo)
            network_ms += (time.perf_counter() - before) * 1e3
            which = _which(photo.eye, told, side)
        influenced = self._influenced(findings, maps, square, found)
        drawing = time.perf_counter()
        picture: bytes | None = None
        if screened.outcome == "assessed" and with_card:
            picture = card.draw(
                photo.pixels,
                found,
                findings=findings,
                influenced=influenced,
                eye=which.eye,
                model_version=self.model_version,
                language=language,
                day=day,
                is_poor=bool(screened.retake),
            )
        end = time.perf_counter()
        self.timing = Timing(0.0, network_ms, (end - drawing) * 1e3, 0.0)
        return Reading(
            outcome=screened.outcome,
            findings=findings,
            dr_grade=grade,
            eye=which.eye,
            eye_from=which.source,
            eye_doubt=which.doubt,
            fundus_probability=screened.fundus_probability,
            gradable_probability=screened.gradable_probability,
            retake=screened.retake,
            model_version=self.model_version,
            provider=self.network.provider,
            width_px=photo.width_px,
            height_px=photo.height_px,
            card=picture,
            dr_at_least=at_least,
            areas=part.areas(influenced) if screened.outcome == "assessed" else None,
        )

    def _influenced(
        self,
        findings: tuple[Finding, ...],
        maps: NDArray[np.float32],
        square: NDArray[np.uint8],
        found: field.Field,
    ) -> dict[Condition, tuple[areas.Line, ...]]:
        """Return the lines for every raised score that a head of these weights gave."""
        lines: dict[Condition, tuple[areas.Line, ...]] = {}
        for finding in findings:
            is_raised = finding.decision in {"borderline", "refer"}
            if is_raised and self.manifest.assesses(finding.condition):
                head = self.manifest.named(finding.condition)
                lines[finding.condition] = areas.around(maps[head.channel], square, found)
        return lines

    def _open(self, data: bytes) -> list[_Part]:
        """Decode as few pixels as the networks need; return one photo and field for each eye."""

        def opened(working_px: int | None) -> tuple[intake.Photo, tuple[field.Field, ...]]:
            photo = self._decode(
                data,
                max_bytes=self._settings.max_bytes,
                max_pixels=self._settings.max_pixels,
                working_px=working_px,
            )
            return photo, field.find_all(photo.pixels)

        if self.original is not None:
            # It resizes without smoothing, so only all pixels give its own answer.
            return _apart(*opened(None))
        photo, fields = opened(WORKING_PX)
        shrunk = photo.width_px > photo.pixels.shape[1]
        if shrunk and max(max(f.width, f.height) for f in fields) < self.network.size_px:
            photo, fields = opened(DETAILED_PX)
        return _apart(photo, fields)

    def _run(
        self, square: NDArray[np.uint8], side: laterality.Side
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on the picture as a right eye would show it.

        The network learnt from both ways round alike; so a mirrored copy of a photo, or one from a
        camera that mirrors, gets the same answer. Where the side is not clear it stays as it came:
        a guess would turn with the least change of the file.
        """
        if side.eye == "OD" or not side.is_sure:
            return self.network.run(square)
        logits, maps = self.network.run(np.ascontiguousarray(square[:, ::-1]))
        return logits, maps[..., ::-1]

    def _screen(
        self,
        logits: NDArray[np.float32],
        square: NDArray[np.uint8],
        found: field.Field,
        photo: intake.Photo,
    ) -> _Screened:
        """Decide whether there is a retina to assess, and what to do better if not."""
        is_fundus, fundus_probability = self._ask("gate", logits)
        if is_fundus == "negative":
            return _Screened("not_fundus", fundus_probability, None, ())
        is_gradable, gradable_probability = self._ask("quality", logits)
        if self._says("pair", logits):
            # What lies clearly apart was cut apart before; two eyes that overlap or touch are left.
            return _Screened("ungradable", fundus_probability, gradable_probability, ("two_eyes",))
        on_screen = self._says("screen", logits)
        measures = quality.measure(square, found, shrunk=photo.width_px / photo.pixels.shape[1])
        retake = quality.causes(measures, on_screen=on_screen)
        # An unsure gate is a photo nobody should be told anything about.
        bad = is_gradable == "negative" or is_fundus == "borderline" or "too_small" in retake
        if bad:
            return _Screened(
                "ungradable", fundus_probability, gradable_probability, retake or _UNNAMED
            )
        # A usable photo with something to mend is assessed, and the reply says what to mend.
        screen_only: tuple[RetakeCause, ...] = ("screen",) if on_screen else ()
        kept = retake if is_gradable == "borderline" else screen_only
        return _Screened("assessed", fundus_probability, gradable_probability, kept)

    def _ask(self, name: str, logits: NDArray[np.float32]) -> tuple[manifest.Decision, float]:
        head = self.manifest.head(name)
        assert head is not None  # noqa: S101  the manifest holds gate and quality, callers check the rest
        probability = head.calibration.probability(float(logits[head.channel]))
        return head.decide(probability), probability

    def _says(self, name: str, logits: NDArray[np.float32]) -> bool:
        """Tell whether a head that may be absent says yes."""
        return self.manifest.head(name) is not None and self._ask(name, logits)[0] == "refer"

    def _findings(
        self, logits: NDArray[np.float32], photo: intake.Photo
    ) -> tuple[tuple[Finding, ...], int | None, tuple[float, ...]]:
        """Ask the embedded heads first; the original network fills the ones they lack.

        Returns:
            The findings, the grade of retinopathy and how likely each grade is at least reached.
        """
        grades = self.manifest.dr_grades
        grade: int | None = None
        at_least: tuple[float, ...] = ()
        if grades is not None:
            grade = grades.grade([float(v) for v in logits])
            at_least = tuple(
                calibration.probability(float(logits[channel]))
                for channel, calibration in zip(grades.channels, grades.calibration, strict=True)
            )
        by_condition: dict[Condition, Finding] = {}
        for condition in CONDITIONS:
            if self.manifest.assesses(condition):
                decision, probability = self._ask(condition, logits)
                by_condition[condition] = Finding(
                    condition, decision, probability, self.manifest.label
                )
        if self.original is not None and len(by_condition) < len(CONDITIONS):
            scores = self.original.run(photo.pixels)
            for condition in CONDITIONS:
                if condition not in by_condition and (f := scores.finding(condition)):
                    by_condition[condition] = f
            if grade is None:
                grade, at_least = scores.dr_grade, scores.dr_at_least
        findings = tuple(by_condition.get(c, Finding(c, "not_assessed")) for c in CONDITIONS)
        return findings, grade, at_least


@dataclass(frozen=True, slots=True)
class _Screened:
    outcome: Outcome
    fundus_probability: float
    gradable_probability: float | None
    retake: tuple[RetakeCause, ...]


@dataclass(frozen=True, slots=True)
class _Which:
    """Which eye, who says so, and whether somebody else says otherwise."""

    eye: Eye | None
    source: EyeSource | None
    doubt: bool = False


def _source(in_file: Eye | None, told: Eye | None) -> EyeSource | None:
    return "file" if in_file else "caption" if told else None


def _which(in_file: Eye | None, told: Eye | None, seen: laterality.Side) -> _Which:
    """Believe the camera, then the person, then the picture where it is sure."""
    eye = in_file or told
    picture = seen.eye if seen.is_sure else None
    if eye is None:
        return _Which(picture, "picture" if picture else None)
    doubt = any(other not in {None, eye} for other in (told, picture))
    return _Which(eye, _source(in_file, told), doubt)


@dataclass(frozen=True, slots=True)
class _Part:
    """One eye as a photo of its own, and where in the decoded photo it was.

    Attributes:
        photo: the photo, or what of it shows this eye.
        field: in `photo`.
        whole: the photo as decoded.
        left_px: where `photo` begins in `whole`.
        top_px: where `photo` begins in `whole`.
    """

    photo: intake.Photo
    field: field.Field
    whole: intake.Photo
    left_px: int = 0
    top_px: int = 0

    def areas(self, influenced: Mapping[Condition, Sequence[areas.Line]]) -> Areas:
        """Return lines of this part as lines of the whole photo as it was sent."""
        height, width = self.whole.pixels.shape[:2]
        size = self.whole.width_px, self.whole.height_px
        scale = np.array(size) / (width, height)

        def sent(line: areas.Line) -> tuple[tuple[int, int], ...]:
            moved = (line + np.array([self.left_px, self.top_px])) * scale
            inside = moved.round().clip(0, size).astype(int)
            return tuple((int(x), int(y)) for x, y in inside)

        f = self.field
        box = ((f.left, f.top), (f.right, f.top), (f.right, f.bottom), (f.left, f.bottom))
        return Areas(
            width_px=size[0],
            height_px=size[1],
            field=sent(np.array(f.outline or box, np.float64)),
            influenced=tuple(
                Area(condition, tuple(sent(line) for line in lines))
                for condition, lines in influenced.items()
            ),
        )


def _apart(photo: intake.Photo, fields: tuple[field.Field, ...]) -> list[_Part]:
    """Return each eye as a photo of its own, without what is burned in around it."""
    if len(fields) == 1:
        pixels = field.only(photo.pixels, fields) if fields[0].marks else photo.pixels
        return [_Part(replace(photo, pixels=pixels), fields[0], photo)]
    shrunk = photo.width_px / photo.pixels.shape[1]
    parts: list[_Part] = []
    for found in fields:
        pixels = field.cut_out(photo.pixels, found)
        height_px, width_px = (round(n * shrunk) for n in pixels.shape[:2])
        part = replace(photo, pixels=pixels, width_px=width_px, height_px=height_px)
        parts.append(_Part(part, field.find(pixels), photo, found.left, found.top))
    return parts
