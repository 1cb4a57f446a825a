"""One photo from bytes to `Reading`, synchronously: intake → field → gate → quality → heads → card.

Loaded at the first photo (numpy, Pillow and onnxruntime come with it); `reader` calls it in its
executor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.message import Language
from core.reading import CONDITIONS, Condition, Eye, Finding, Outcome, Reading, RetakeCause
from models.fundus import card, field, intake, manifest, quality
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


class Assessor:
    """Everything loaded: weights, sessions, limits. Not thread-safe: one worker owns it."""

    def __init__(self, settings: FundusSettings) -> None:
        """Load the weights.

        Raises:
            ConfigError: weights or the original network are missing or not what they claim.
        """
        self._settings = settings
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

    def assess(self, data: bytes, *, language: Language, eye: Eye | None) -> Reading:
        """Read one photo.

        Raises:
            PatientError: the file cannot be opened; says why.
        """
        start = time.perf_counter()
        photo, found = self._open(data)
        decoded = time.perf_counter()
        square = field.square(photo.pixels, found, self.network.size_px)
        before = time.perf_counter()
        logits, maps = self.network.run(square)
        network_ms = (time.perf_counter() - before) * 1e3
        screened = self._screen(logits, square, found, photo)

        findings = tuple(Finding(c, "not_assessed") for c in CONDITIONS)
        grade: int | None = None
        if screened.outcome == "assessed":
            before = time.perf_counter()
            findings, grade = self._findings(logits, photo)
            network_ms += (time.perf_counter() - before) * 1e3
        drawing = time.perf_counter()
        picture: bytes | None = None
        if screened.outcome == "assessed":
            picture = card.draw(
                photo.pixels,
                found,
                findings=findings,
                maps={c: maps[h.channel] for c in CONDITIONS if (h := self.manifest.head(c))},
                eye=eye,
                model_version=self.model_version,
                language=language,
            )
        end = time.perf_counter()
        self.timing = Timing(
            (decoded - start) * 1e3, network_ms, (end - drawing) * 1e3, (end - start) * 1e3
        )
        return Reading(
            outcome=screened.outcome,
            findings=findings,
            dr_grade=grade,
            eye=eye,
            fundus_probability=screened.fundus_probability,
            gradable_probability=screened.gradable_probability,
            retake=screened.retake,
            model_version=self.model_version,
            provider=self.network.provider,
            width_px=photo.width_px,
            height_px=photo.height_px,
            card=picture,
            elapsed_ms=(end - start) * 1e3,
        )

    def _open(self, data: bytes) -> tuple[intake.Photo, field.Field]:
        """Decode as few pixels as the networks need, and find the field in them."""

        def opened(working_px: int | None) -> tuple[intake.Photo, field.Field]:
            photo = intake.decode(
                data,
                max_bytes=self._settings.max_bytes,
                max_pixels=self._settings.max_pixels,
                working_px=working_px,
            )
            return photo, field.find(photo.pixels)

        if self.original is not None:
            # It resizes without smoothing, so only all pixels give its own answer.
            return opened(None)
        photo, found = opened(WORKING_PX)
        shrunk = photo.width_px > photo.pixels.shape[1]
        if shrunk and max(found.width, found.height) < self.network.size_px:
            return opened(DETAILED_PX)
        return photo, found

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
        on_screen = (
            self.manifest.head("screen") is not None and self._ask("screen", logits)[0] == "refer"
        )
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

    def _findings(
        self, logits: NDArray[np.float32], photo: intake.Photo
    ) -> tuple[tuple[Finding, ...], int | None]:
        """Ask the embedded heads first; the original network fills the ones they lack."""
        grades = self.manifest.dr_grades
        grade = grades.grade([float(v) for v in logits]) if grades else None
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
            grade = scores.dr_grade if grade is None else grade
        return tuple(by_condition.get(c, Finding(c, "not_assessed")) for c in CONDITIONS), grade


@dataclass(frozen=True, slots=True)
class _Screened:
    outcome: Outcome
    fundus_probability: float
    gradable_probability: float | None
    retake: tuple[RetakeCause, ...]
