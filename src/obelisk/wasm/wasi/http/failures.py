"""How a request can fail, as `wasi:http/types.error-code` tells it.

Decides nothing: names for the cases, in the order of the interface, and what each carries.
"""

from __future__ import annotations

from enum import IntEnum

from obelisk.wit.types import Value


class Code(IntEnum):
    """The cases of `error-code`; the number is the case's index."""

    DNS_TIMEOUT = 0
    DNS_ERROR = 1
    DESTINATION_NOT_FOUND = 2
    DESTINATION_UNAVAILABLE = 3
    DESTINATION_IP_PROHIBITED = 4
    DESTINATION_IP_UNROUTABLE = 5
    CONNECTION_REFUSED = 6
    CONNECTION_TERMINATED = 7
    CONNECTION_TIMEOUT = 8
    CONNECTION_READ_TIMEOUT = 9
    CONNECTION_WRITE_TIMEOUT = 10
    CONNECTION_LIMIT_REACHED = 11
    TLS_PROTOCOL_ERROR = 12
    TLS_CERTIFICATE_ERROR = 13
    TLS_ALERT_RECEIVED = 14
    HTTP_REQUEST_DENIED = 15
    HTTP_REQUEST_LENGTH_REQUIRED = 16
    HTTP_REQUEST_BODY_SIZE = 17
    HTTP_REQUEST_METHOD_INVALID = 18
    HTTP_REQUEST_URI_INVALID = 19
    HTTP_REQUEST_URI_TOO_LONG = 20
    HTTP_REQUEST_HEADER_SECTION_SIZE = 21
    HTTP_REQUEST_HEADER_SIZE = 22
    HTTP_REQUEST_TRAILER_SECTION_SIZE = 23
    HTTP_REQUEST_TRAILER_SIZE = 24
    HTTP_RESPONSE_INCOMPLETE = 25
    HTTP_RESPONSE_HEADER_SECTION_SIZE = 26
    HTTP_RESPONSE_HEADER_SIZE = 27
    HTTP_RESPONSE_BODY_SIZE = 28
    HTTP_RESPONSE_TRAILER_SECTION_SIZE = 29
    HTTP_RESPONSE_TRAILER_SIZE = 30
    HTTP_RESPONSE_TRANSFER_CODING = 31
    HTTP_RESPONSE_CONTENT_CODING = 32
    HTTP_RESPONSE_TIMEOUT = 33
    HTTP_UPGRADE_FAILED = 34
    HTTP_PROTOCOL_ERROR = 35
    LOOP_DETECTED = 36
    CONFIGURATION_ERROR = 37
    INTERNAL_ERROR = 38

    @property
    def title(self) -> str:
        """Its name in WIT: `HTTP-request-denied`."""
        return "-".join(word if word in _UPPER else word.lower() for word in self.name.split("_"))


_UPPER = frozenset({"DNS", "IP", "TLS", "HTTP", "URI"})


class HttpFailure(Exception):
    """A request failed. `payload` is that of the case, as a WIT value; the message says more than the guest is told."""

    def __init__(self, code: Code, message: str, payload: Value = None) -> None:
        super().__init__(message)
        self.code = code
        self.payload = payload

    @property
    def value(self) -> Value:
        """As the guest gets it: an `error-code`."""
        return int(self.code), self.payload

    @property
    def text(self) -> str:
        """As traces and logs have it."""
        return f"{self.code.title}: {self}"


def internal(message: str) -> HttpFailure:
    """A failure that no other case is made for; the guest is told the message."""
    return HttpFailure(Code.INTERNAL_ERROR, message, (message,))
