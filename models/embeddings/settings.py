"""Settings of the search by meaning. `bot` reads them from the `knowledge:` part."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class KnowledgeSettings(BaseModel):
    """Search by meaning beside the search by words; off without an address.

    Attributes:
        base_url: OpenAI-compatible server with ``/v1/embeddings``, with or without ``/v1``. It
            reads patients' questions, so it must be the clinic's own. Null: words alone.
        model: name of the embedding model there; needed with `base_url`.
        api_key: sent as bearer token.
        timeout_s: longest wait for the vector of a question; after it, words alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str | None = None
    model: str = ""
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=0.3, gt=0, le=5)

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url.rstrip("/").removesuffix("/v1").rstrip("/")
