"""Limits of outgoing HTTP, with their names."""

from __future__ import annotations

from typing import Final

PIECE_BYTES: Final = 64 << 10
"""Bytes of a body that are kept on each side of a connection before the other end has to wait."""
HEADER_BYTES_MAX: Final = 64 << 10
"""Bytes of the headers, or the trailers, of a request or a response."""
URI_BYTES_MAX: Final = 16 << 10
"""Bytes of a request's URL."""
HELD_BODY_BYTES_MAX: Final = 1 << 20
"""Bytes of a request's body into which secrets are put before its length is told; a longer one is sent in chunks."""
INFORMATIONAL_MAX: Final = 32
"""Informational responses (status 1xx) before the response."""
OPEN_MAX: Final = 1_024
"""Requests of one run that are under way at once."""
UNSENT_MAX: Final = 1_024
"""Requests of one run that have a body and are not over, sent or not: up to 128 KiB are kept for each."""
FIELDS_OF_A_RUN_BYTES_MAX: Final = 16 << 20
"""Bytes of all headers that a guest holds at once."""
TRACES_MAX: Final = 100
"""Requests of one run that are recorded: the first half of them, and the last half."""
TRACE_URI_MAX: Final = 2_000
"""Characters of a URL in a record."""
TRACE_ERROR_MAX: Final = 2_000
"""Characters of an error in a record."""

CONNECT_TIMEOUT_S: Final = 30.0
"""Looking a name up, connecting and TLS together, unless the guest says otherwise."""
FIRST_BYTE_TIMEOUT_S: Final = 600.0
"""From the last byte of the request that could be sent to the response, unless the guest says otherwise."""
BETWEEN_BYTES_TIMEOUT_S: Final = 600.0
"""Between two pieces of a response's body, and for each piece of a request's, unless the guest says otherwise."""
FRAMING_WAIT_S: Final = 0.05
"""How long a request without a declared length waits for its body, to see whether there is one."""

IDLE_MAX: Final = 64
"""Connections that are kept for further requests."""
IDLE_S: Final = 15.0
"""How long they are kept."""
CONNECTIONS_RESERVE: Final = 256
"""File descriptors that connections leave to the rest of the process."""
