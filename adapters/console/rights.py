"""Who may do what in the console: one line for each route, and no route without a line.

`guard.guarded` reads this table and refuses to start when a route is missing. Roles are a ladder:
a doctor may do what a nurse may, an admin what a doctor may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["nurse", "doctor", "admin"]
ROLES: tuple[Role, ...] = ("nurse", "doctor", "admin")


@dataclass(frozen=True, slots=True)
class Right:
    """What a route asks of its visitor, and what the audit keeps of it.

    Attributes:
        least: the lowest role that may use it; None = anybody, also before logging in.
        audit: word of the audit row that a successful request leaves, or "" for none.
        of_patient: shows or changes a patient: the handler has to say whom (`note_patient`).
        is_part: is fetched by a page that is open: without a login it answers 401, no redirect.
        is_upload: its form has files, so the handler itself checks the form's token.
        is_early: may be used while the password has to be changed.
    """

    least: Role | None
    audit: str = ""
    of_patient: bool = False
    is_part: bool = False
    is_upload: bool = False
    is_early: bool = False


RIGHTS: Mapping[str, Right] = {
    "GET /console/login": Right(None),
    "POST /console/login": Right(None),
    "POST /console/login/code": Right(None),
    "GET /console/static/{digest}/{name}": Right(None),
    "GET /console/worker.js": Right(None),
    "POST /console/logout": Right("nurse", is_early=True),
    "POST /console/preferences": Right("nurse", is_early=True),
    # Today and the calls
    "GET /console": Right("nurse", audit="today_viewed"),
    "GET /console/tasks": Right("nurse", is_part=True),
    "GET /console/live": Right("nurse", is_part=True),
    "POST /console/tasks/claim": Right("nurse", audit="task_claimed"),
    "POST /console/tasks/close": Right("nurse", audit="task_closed"),
    "GET /console/recalls": Right("nurse", audit="recalls_viewed"),
    "GET /console/calendar": Right("nurse", audit="calendar_viewed"),
    "POST /console/recalls/claim": Right("nurse", audit="task_claimed"),
    "POST /console/recalls/note": Right("nurse", audit="call_noted"),
    "POST /console/recalls/close": Right("nurse", audit="task_closed"),
    # Patients
    "GET /console/patients": Right("nurse", audit="patients_viewed"),
    "GET /console/patients/{patient}": Right("nurse", audit="patient_viewed", of_patient=True),
    "GET /console/conversations/{conversation}": Right(
        "nurse", audit="chat_viewed", of_patient=True
    ),
    # The page that is open asks every few seconds; only opening it is a view.
    "GET /console/conversations/{conversation}/messages": Right("nurse", is_part=True),
    "POST /console/conversations/{conversation}/take": Right(
        "nurse", audit="chat_taken", of_patient=True
    ),
    "POST /console/conversations/{conversation}/reply": Right(
        "nurse", audit="chat_replied", of_patient=True
    ),
    "POST /console/conversations/{conversation}/stay": Right(
        "nurse", audit="chat_kept", of_patient=True
    ),
    "POST /console/conversations/{conversation}/hand-back": Right(
        "nurse", audit="chat_handed_back", of_patient=True
    ),
    "GET /console/photos/{photo}": Right("nurse", audit="photo_viewed", of_patient=True),
    "GET /console/photos/{photo}/image": Right(
        "nurse", audit="picture_viewed", of_patient=True, is_part=True
    ),
    "GET /console/photos/{photo}/small": Right(
        "nurse", audit="picture_viewed", of_patient=True, is_part=True
    ),
    "GET /console/photos/{photo}/card": Right(
        "nurse", audit="picture_viewed", of_patient=True, is_part=True
    ),
    "GET /console/photos/{photo}/overlay": Right(
        "nurse", audit="picture_viewed", of_patient=True, is_part=True
    ),
    "POST /console/photos/{photo}/review": Right("doctor", audit="photo_graded", of_patient=True),
    "POST /console/photos/{photo}/send": Right("nurse", audit="result_sent", of_patient=True),
    "GET /console/voices/{voice}": Right("nurse", audit="voice_viewed", of_patient=True),
    "GET /console/voices/{voice}/audio": Right(
        "nurse", audit="voice_played", of_patient=True, is_part=True
    ),
    "POST /console/voices/{voice}/heard": Right("nurse", audit="voice_heard", of_patient=True),
    "GET /console/new-photo": Right("nurse"),
    "POST /console/new-photo": Right("nurse", audit="photo_taken", of_patient=True, is_upload=True),
    "GET /console/results/{visit}": Right("nurse", audit="result_viewed", of_patient=True),
    # Figures: counts only
    "GET /console/attendance": Right("nurse"),
    "GET /console/insight": Right("nurse"),
    # One's own account
    "GET /console/account": Right("nurse", is_early=True),
    "POST /console/account/password": Right("nurse", audit="password_changed", is_early=True),
    "POST /console/account/sessions/end": Right("nurse", audit="session_ended"),
    # Besides the role the page asks for the password once more.
    "POST /console/account/phone": Right("nurse", audit="phone_trusted"),
    "POST /console/account/phone/end": Right("nurse", audit="phone_ended"),
    "GET /console/account/codes": Right("nurse"),
    "GET /console/account/codes/qr.svg": Right("nurse", is_part=True),
    "POST /console/account/codes/on": Right("nurse", audit="codes_on"),
    "POST /console/account/codes/off": Right("nurse", audit="codes_off"),
    # Running the service
    "GET /console/channels": Right("nurse"),
    "GET /console/channels/{channel}/{number}/qr.svg": Right(
        "admin", audit="login_code_viewed", is_part=True
    ),
    "POST /console/channels/{channel}/login": Right("admin", audit="login_begun"),
    "POST /console/channels/{channel}/login/digits": Right("admin", audit="login_digits_given"),
    "POST /console/channels/retry": Right("admin", audit="message_retried"),
    "GET /console/settings": Right("admin"),
    "POST /console/settings": Right("admin", audit="setting_changed"),
    "GET /console/staff": Right("admin"),
    "POST /console/staff/add": Right("admin", audit="staff_added"),
    "POST /console/staff/role": Right("admin", audit="role_changed"),
    "POST /console/staff/active": Right("admin", audit="staff_switched"),
    "POST /console/staff/password": Right("admin", audit="password_reset"),
    "POST /console/staff/sessions/end": Right("admin", audit="sessions_ended"),
    "POST /console/staff/phones/end": Right("admin", audit="phone_ended"),
    "GET /console/audit": Right("admin", audit="audit_viewed"),
}


def may(role: Role, least: Role) -> bool:
    """Tell whether `role` is at least `least`."""
    return ROLES.index(role) >= ROLES.index(least)


# What the menu shows, in this order, to whom the table lets in; behind "More" from the fourth on.
MENU = (
    ("/console", "today"),
    ("/console/recalls", "recalls"),
    ("/console/patients", "patients"),
    ("/console/calendar", "calendar"),
    ("/console/new-photo", "new_photo"),
    ("/console/attendance", "attendance"),
    ("/console/insight", "insight"),
    ("/console/channels", "channels"),
    ("/console/settings", "settings"),
    ("/console/staff", "staff"),
    ("/console/audit", "audit"),
    ("/console/account", "account"),
)


def menu_for(role: Role) -> list[tuple[str, str]]:
    """Return path and name of every page in the menu that this role may open."""
    return [
        (path, name)
        for path, name in MENU
        if (right := RIGHTS.get(f"GET {path}")) and right.least and may(role, right.least)
    ]
