"""Passwords: argon2id off the event loop, as slow for a wrong account as for a right one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from adapters.console.settings import ConsoleSettings

# argon2 itself has no limit; a megabyte of "password" would only keep a thread busy.
LONGEST_PASSWORD = 1024
# NIST SP 800-63B asks for 8 and no rules about signs; 10 where a password may stand alone.
SHORTEST_PASSWORD = 10
_FEWEST_SIGNS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right; `rehashed` replaces a hash made with older parameters."""

    is_right: bool
    rehashed: str | None = None


class Passwords:
    """Hashes and checks, at most two at a time: each takes memory and a core."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_passes,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_lanes,
        )
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="argon2")

    def hash(self, password: str) -> str:
        """Return the PHC string to store; blocks, for the command line."""
        return self._hasher.hash(password)

    async def make(self, password: str) -> str:
        """Return the PHC string to store, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.hash, password)

    async def check(self, password: str, password_hash: str | None) -> Verdict:
        """Check a password; without a hash, spend the same time and say no."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._check, password, password_hash)

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash("nobody's password")

    def _check(self, password: str, password_hash: str | None) -> Verdict:
        try:
            self._hasher.verify(password_hash or self._nobodys_hash, password[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        if not password_hash:
            return Verdict(False)
        outdated = self._hasher.check_needs_rehash(password_hash)
        return Verdict(True, self._hasher.hash(password) if outdated else None)

    def close(self) -> None:
        """Let the threads go."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def is_good(password: str, account: str) -> bool:
    """Tell whether a new password is long enough, not one sign repeated, and not the account."""
    return (
        SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD
        and len(set(password)) >= _FEWEST_SIGNS
        and account.lower() not in password.lower()
    )
