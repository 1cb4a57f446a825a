"""Puts together what the console's pages about patients need."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import structlog

from adapters.console.patient_desk import PatientDesk
from adapters.console.patient_site import Bedside
from adapters.console.reading_words import Thresholds, ThresholdsOf
from adapters.console.walk_in import WalkIns
from core.errors import ConfigError
from core.reading import CONDITIONS, Condition
from models.fundus.settings import FundusSettings

if TYPE_CHECKING:
    from bot.service import Service

log = structlog.get_logger(__name__)


def bedside(service: Service) -> Bedside:
    """Return it for a service."""
    settings = service.settings
    return Bedside(
        PatientDesk(
            service.store, service.blobs, settings.console.timezone, settings.dialog.language
        ),
        service.takeovers,
        WalkIns(service.store, service.blobs, service.intake, service.clock, settings.dialog.zone),
        thresholds_of(settings.fundus),
        settings.webchat.max_upload_bytes,
        service.reader.clean,
    )


def thresholds_of(settings: FundusSettings) -> ThresholdsOf:
    """Return the thresholds of the weights in use, for readings that these weights made."""

    @cache
    def in_use() -> tuple[str, Thresholds]:
        # Loaded at the first photo that somebody looks at: it checks the file's hash.
        from models.fundus.manifest import load  # noqa: PLC0415

        try:
            manifest, _ = load(settings.weights)
        except ConfigError as error:
            log.warning("thresholds_unknown", error=str(error))
            return "", {}
        limits: dict[Condition, tuple[float, float]] = {}
        for condition in CONDITIONS:
            head = manifest.head(condition)
            if head is not None:
                limits[condition] = (head.rule_out, head.refer)
        return manifest.label, limits

    def of(model_version: str) -> Thresholds:
        label, limits = in_use()
        return limits if model_version and model_version == label else {}

    return of
