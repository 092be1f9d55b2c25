"""Addresses of object stores: SCHEME://BUCKET/KEY, without anything secret in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import SettingsError
from ...files import refuse_secrets, shown_address

SCHEMES = ("s3", "gs", "az")
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""


@dataclass(frozen=True)
class Address:
    """A place in an object store: `key` without slashes at its ends, '' for the bucket itself."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def of(cls, text: str | Path) -> Address:
        """Return the address that a text spells.

        Raises SettingsError for another scheme, and for one that holds what may be secret.
        """
        scheme, _, rest = str(text).partition(":")
        bucket, _, key = rest.removeprefix("/").removeprefix("/").partition("/")
        accepted = f"expected {', '.join(f'{one}://' for one in SCHEMES)} and BUCKET/NAME"
        refuse_secrets(text)
        if scheme.lower() not in SCHEMES or not bucket:
            raise SettingsError(f"the address {shown_address(text)} is not accepted; {accepted}")
        return cls(scheme.lower(), bucket, "/".join(filter(None, key.split("/"))))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part, for messages."""
        return self.key.rpartition("/")[2] or self.bucket

    def at(self, key: str) -> Address:
        """Return another address in the same bucket."""
        return Address(self.scheme, self.bucket, key)

    def child(self, name: str) -> Address:
        """Return the address of something below this one."""
        return self.at(f"{self.key}/{name}" if self.key else name)
