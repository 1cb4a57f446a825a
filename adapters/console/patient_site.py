"""Puts the pages about patients together and gives each its address."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from jinja2 import Environment

from adapters.console.conversation import ConversationPage
from adapters.console.new_photo import NewPhotoPage
from adapters.console.patient import PatientPage
from adapters.console.patient_desk import PatientDesk
from adapters.console.photo import PhotoPage
from adapters.console.reading_words import ThresholdsOf
from adapters.console.settings import ConsoleSettings
from adapters.console.voice import VoicePage
from adapters.console.walk_in import WalkIns
from core.clock import Clock
from core.ports import Shrink
from core.takeover import Takeovers


@dataclass(frozen=True, slots=True)
class Bedside:
    """What the pages about patients need.

    Attributes:
        desk: reads patients.
        takeovers: answers them.
        walk_ins: takes photos at the clinic.
        thresholds: of the weights in use.
        max_photo_bytes: largest photo.
        shrink: makes small copies of photos; None shows the whole ones.
    """

    desk: PatientDesk
    takeovers: Takeovers
    walk_ins: WalkIns
    thresholds: ThresholdsOf
    max_photo_bytes: int
    shrink: Shrink | None = None


def patient_routes(
    settings: ConsoleSettings, bedside: Bedside, templates: Environment, clock: Clock
) -> list[web.RouteDef]:
    """Return the routes of the pages about patients, not yet guarded."""
    patients = PatientPage(settings=settings, desk=bedside.desk, templates=templates)
    talk = ConversationPage(
        settings=settings,
        desk=bedside.desk,
        takeovers=bedside.takeovers,
        templates=templates,
        clock=clock,
    )
    photo = PhotoPage(
        settings=settings,
        desk=bedside.desk,
        takeovers=bedside.takeovers,
        thresholds=bedside.thresholds,
        templates=templates,
        clock=clock,
        shrink=bedside.shrink,
    )
    voice = VoicePage(settings=settings, desk=bedside.desk.voices, templates=templates, clock=clock)
    new_photo = NewPhotoPage(
        settings=settings,
        desk=bedside.desk,
        walk_ins=bedside.walk_ins,
        max_bytes=bedside.max_photo_bytes,
        templates=templates,
        clock=clock,
    )
    chat = "/console/conversations/{conversation}"
    return [
        web.get("/console/patients", patients.people),
        web.get("/console/patients/{patient}", patients.get),
        web.get(chat, talk.get),
        web.get(f"{chat}/messages", talk.messages),
        web.post(f"{chat}/take", talk.take),
        web.post(f"{chat}/reply", talk.reply),
        web.post(f"{chat}/stay", talk.stay),
        web.post(f"{chat}/hand-back", talk.hand_back),
        web.get("/console/photos/{photo}", photo.get),
        web.get("/console/photos/{photo}/image", photo.image),
        web.get("/console/photos/{photo}/small", photo.small),
        web.get("/console/photos/{photo}/card", photo.card),
        web.get("/console/photos/{photo}/overlay", photo.overlay),
        web.post("/console/photos/{photo}/review", photo.review),
        web.post("/console/photos/{photo}/send", photo.send),
        web.get("/console/voices/{voice}", voice.get),
        web.get("/console/voices/{voice}/audio", voice.audio),
        web.post("/console/voices/{voice}/heard", voice.heard),
        web.get("/console/new-photo", new_photo.get),
        web.post("/console/new-photo", new_photo.post),
        web.get("/console/results/{visit}", new_photo.result),
    ]
