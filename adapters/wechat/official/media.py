"""Pictures to and from WeChat: media ids live three days, and some accounts may not use them."""

from __future__ import annotations

from collections import OrderedDict
from urllib.parse import urlsplit

import aiohttp
import structlog

from adapters.wechat.official.api import ApiError, TooLarge, WechatApi
from adapters.wechat.official.errcodes import Do
from core.clock import Clock
from core.errors import ConfigError, PatientError, SendUnknown, TransientError
from core.message import Attachment
from core.ports import Blobs
from core.reply import Image

log = structlog.get_logger(__name__)

# The page says 10 MB in one place and 2 MB in another.
UPLOAD_LIMIT_BYTES = 2 * 1024 * 1024
DOWNLOAD_LIMIT_BYTES = 20 * 1024 * 1024
_UPLOADED_FOR_MS = 2 * 24 * 3_600_000  # of WeChat's three days
_MOST_UPLOADS = 1_000
_TYPES = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif"}


class Media:
    """Fetches what patients sent and uploads what we made."""

    def __init__(
        self, api: WechatApi, blobs: Blobs, clock: Clock, picture_hosts: tuple[str, ...]
    ) -> None:
        self._api = api
        self._blobs = blobs
        self._clock = clock
        self._hosts = frozenset(picture_hosts)
        self._uploaded: OrderedDict[str, tuple[str, int]] = OrderedDict()

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        """Return an attachment; `ref` is the media id and, of pictures, an address behind it.

        Raises:
            PatientError: too large, or gone: WeChat keeps media for three days.
            TransientError: try again.
        """
        limit_bytes = min(limit_bytes, DOWNLOAD_LIMIT_BYTES)
        media_id, _, address = attachment.ref.partition(" ")
        if not media_id:
            raise PatientError("wechat.file_gone")
        try:
            return await self._fetch(media_id, address, limit_bytes)
        except TooLarge:
            limit_mb = limit_bytes // (1024 * 1024)
            raise PatientError("wechat.too_large", limit_mb=limit_mb) from None
        except ApiError as error:
            if error.do in (Do.TRY_AGAIN, Do.WAIT_A_MINUTE, Do.RENEW_TOKEN):
                raise TransientError(f"WeChat gives no media: {error}") from None
            log.warning("wechat_media_gone", code=error.code)
            raise PatientError("wechat.file_gone") from None
        except (SendUnknown, ConfigError) as error:
            raise TransientError(str(error), retry_after_s=5) from None

    async def _fetch(self, media_id: str, address: str, limit_bytes: int) -> bytes:
        query = {"media_id": media_id}
        try:
            data, _ = await self._api.download("/cgi-bin/media/get", query, limit_bytes=limit_bytes)
        except (ApiError, ConfigError) as error:
            if not self._is_picture(address):
                raise
            log.info("wechat_picture_by_address", error=type(error).__name__)
            return await self._api.picture(address, limit_bytes=limit_bytes)
        return data

    def _is_picture(self, address: str) -> bool:
        """Tell whether this is an address of WeChat's own pictures; nothing else is fetched."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.hostname in self._hosts

    async def upload(self, image: Image) -> str | None:
        """Return the media id of one of our pictures; None when only its words can be sent.

        Raises:
            ApiError, TransientError, ConfigError: try again.
        """
        known = self._uploaded.get(image.blob)
        if known is not None and known[1] > self._clock.now_ms():
            return known[0]
        try:
            data = await self._blobs.get(image.blob)
        except PatientError:
            return None  # erased meanwhile
        extension = _TYPES.get(image.mime)
        if extension is None or len(data) > UPLOAD_LIMIT_BYTES:
            log.warning("wechat_picture_not_sendable", mime=image.mime, bytes=len(data))
            return None

        def form() -> aiohttp.FormData:
            made = aiohttp.FormData()
            name = f"picture.{extension}"
            made.add_field("media", data, filename=name, content_type=image.mime)
            return made

        try:
            answer = await self._api.call(
                "/cgi-bin/media/upload", form=form, query={"type": "image"}
            )
        except SendUnknown as error:
            raise TransientError(str(error)) from None  # an upload too many hurts nobody
        except ApiError as error:
            if error.do in (Do.NOT_PERMITTED, Do.REFUSE):
                log.warning("wechat_picture_refused", code=error.code)
                return None
            raise
        media_id = str(answer.get("media_id", ""))
        if media_id:
            self._uploaded[image.blob] = (media_id, self._clock.now_ms() + _UPLOADED_FOR_MS)
            if len(self._uploaded) > _MOST_UPLOADS:
                self._uploaded.popitem(last=False)
        return media_id or None

    def forget(self, image: Image) -> None:
        """Upload this picture anew next time: WeChat no longer knows its id."""
        self._uploaded.pop(image.blob, None)
