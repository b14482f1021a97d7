"""Client of mfad, the multi-factor authentication daemon of a Linux host.

`Client` logs users in, enrols their second factors and checks codes over the daemon's Unix socket. `TokenVerifier`
checks access tokens without asking the daemon each time. Only the standard library is needed.
"""

from ._client import Client
from ._errors import Error, NoAnswer, Refused, TokenError, Unexpected, Unreachable
from ._model import (
    Challenge,
    Claims,
    Confirmation,
    Enrollment,
    Factor,
    Lock,
    MustEnroll,
    PendingFactor,
    Secret,
    Session,
    User,
)
from ._tokens import TokenVerifier

__all__ = [
    "Challenge",
    "Claims",
    "Client",
    "Confirmation",
    "Enrollment",
    "Error",
    "Factor",
    "Lock",
    "MustEnroll",
    "NoAnswer",
    "PendingFactor",
    "Refused",
    "Secret",
    "Session",
    "TokenError",
    "TokenVerifier",
    "Unexpected",
    "Unreachable",
    "User",
]
