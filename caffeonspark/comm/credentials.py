"""What the parties of an attempt recognise each other by.

An attempt has a bootstrap secret, which only lets a rank register with the driver: the driver takes the
first claim of each rank. Where connections are encrypted every party makes an X25519 key pair for the attempt. The
driver's public key is in the ranks' invitation, a rank's is in its claim, and the driver tells each rank those of the
others. From then on two parties share what only their two private keys give, so none can speak as another. Private
keys are never sent, written or pickled: what was recorded opens nothing when the bootstrap is known later. In clear
the driver hands out a second secret, which all registered ranks share.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence

from .checksum import Seeds, derive_seeds
from .encryption import KeyPair, Keys, derive

__all__ = [
    "CHECKSUMMED",
    "DRIVER",
    "ENCRYPTED",
    "SECRET",
    "Credentials",
    "Invitation",
    "SharedSecret",
    "connection_keys",
    "connection_seeds",
    "introduce",
    "prove",
]

#: The driver's name in handshakes.
DRIVER = 0xFFFFFFFF
#: Bytes of a secret.
SECRET = 32

#: Modes of a connection, as greetings say them.
_PLAIN, CHECKSUMMED, ENCRYPTED = b"P", b"C", b"S"
_NONCE = 16


@dataclass(frozen=True)
class Credentials:
    """What one party shows others, and recognises them by.

    Attributes
    ----------
    secret : 32 random bytes: the attempt's bootstrap between ranks and driver, the ranks' own between ranks
    nonce : 16 random bytes of the attempt
    pair : this party's key pair where every connection is encrypted; a party that thinks otherwise is refused
    known : the public keys of the parties to talk to; None for whoever knows the secret
    checksum : whether what travels in clear has checksums; a party that thinks otherwise is refused
    """

    secret: bytes = field(repr=False)
    nonce: bytes
    pair: Optional[KeyPair] = field(default=None, repr=False)
    known: Optional[Mapping[int, bytes]] = field(default=None, repr=False)
    checksum: bool = True
    _label: bytes = field(default_factory=lambda: os.urandom(SECRET), repr=False)

    @classmethod
    def new(cls, encrypted: bool = False, checksum: bool = True) -> Credentials:
        """The driver's credentials for a new attempt."""
        return cls(os.urandom(SECRET), os.urandom(_NONCE), KeyPair() if encrypted else None, checksum=checksum)

    @property
    def encrypted(self) -> bool:
        return self.pair is not None

    @property
    def mode(self) -> bytes:
        """One byte that says how connections are, in every greeting."""
        if self.encrypted:
            return ENCRYPTED
        return CHECKSUMMED if self.checksum else _PLAIN

    @property
    def identity(self) -> bytes:
        """32 bytes that no other party has: the public key, or random ones in clear."""
        return self._label if self.pair is None else self.pair.public

    def invitation(self) -> Invitation:
        """What the ranks get of the driver's credentials, in addition to the secret."""
        return Invitation(self.nonce, b"" if self.pair is None else self.pair.public, self.checksum)

    def shared(self, peer: int, identity: Optional[bytes] = None) -> bytes:
        """The secret between this party and another.

        Parameters
        ----------
        peer : its name
        identity : what it calls its own; None for the one that is known

        Raises
        ------
        PermissionError
            When the peer is not known, or goes by another identity.
        """
        if self.pair is None:
            return self.secret
        if self.known is not None:
            known = self.known.get(peer)
            if known is None or identity not in (None, known):
                raise PermissionError
            identity = known
        if identity is None:
            raise PermissionError
        return self.pair.shared(identity, self.secret, self.nonce)

    def for_peers(self, introduction: Mapping[str, Any], mask: bytes) -> Credentials:
        """A rank's credentials for the other ranks, from what the driver said of them.

        Parameters
        ----------
        introduction : of ``introduce``
        mask : of the connection to the driver
        """
        known = {rank: bytes.fromhex(key) for rank, key in enumerate(introduction["identities"])}
        return Credentials(
            _xor(bytes.fromhex(introduction["secret"]), mask), self.nonce, self.pair, known, self.checksum, self._label
        )


@dataclass(frozen=True)
class SharedSecret(Credentials):
    """Credentials of two parties that know only a secret before they meet: the keys of their
    connection, which is always encrypted, are made of the secret and of what both said new in the handshake."""

    @classmethod
    def of(cls, phrase: bytes, purpose: str) -> SharedSecret:
        """Made of a secret of any length. Takes a moment, also for whoever guesses."""
        salt = b"caffeonspark: " + purpose.encode()
        key = hashlib.scrypt(phrase, salt=salt, n=1 << 14, r=8, p=1, dklen=SECRET)
        return cls(key, hashlib.sha256(salt).digest()[:_NONCE])

    @property
    def encrypted(self) -> bool:
        return True


@dataclass(frozen=True)
class Invitation:
    """What every rank's task says of an attempt. It is no secret.

    Attributes
    ----------
    nonce : of the attempt
    driver : the driver's public key, b"" where connections are not encrypted
    checksum : whether what travels in clear has checksums
    """

    nonce: bytes
    driver: bytes
    checksum: bool

    @property
    def encrypted(self) -> bool:
        return bool(self.driver)

    def accept(self, secret: bytes) -> Credentials:
        """A rank's credentials for its connection to the driver, by the attempt's bootstrap secret."""
        pair = KeyPair() if self.encrypted else None
        return Credentials(secret, self.nonce, pair, {DRIVER: self.driver}, self.checksum)


def introduce(secret: bytes, identities: Sequence[bytes], mask: bytes) -> Dict[str, Any]:
    """What the driver tells a rank of all ranks: their secret, masked for its connection, and their identities."""
    return {"secret": _xor(secret, mask).hex(), "identities": [identity.hex() for identity in identities]}


def prove(secret: bytes, label: bytes, hello: bytes, answer: bytes = b"") -> bytes:
    """The proof of knowing a secret in a conversation."""
    message = b"".join(struct.pack("!I", len(part)) + part for part in (label, hello, answer))
    return hmac.new(secret, message, hashlib.sha256).digest()


def connection_keys(secret: bytes, hello: bytes, answer: bytes, dialling: bool) -> Keys:
    """The keys of a conversation's connection for one of its ends."""
    dialler, acceptor = derive(secret, hello + answer)
    return Keys(dialler, acceptor) if dialling else Keys(acceptor, dialler)


def connection_seeds(hello: bytes, answer: bytes, dialling: bool) -> Seeds:
    """The seeds of the checksums of a conversation's connection for one of its ends."""
    dialler, acceptor = derive_seeds(hello + answer)
    return Seeds(dialler, acceptor) if dialling else Seeds(acceptor, dialler)


def _xor(one: bytes, other: bytes) -> bytes:
    if len(one) != len(other):
        raise ValueError(f"a secret of {len(one)} bytes")
    return bytes(a ^ b for a, b in zip(one, other))
