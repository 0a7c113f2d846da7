"""The activity template-http:activity/http-activity-ifc: a class of the interface's name."""

from obelisk_guest import Err, exported
from obelisk_guest.http import HttpError, request
from wit_world.exports.http_activity_ifc import Page

BODY_MAX = 64 << 10


@exported
class HttpActivityIfc:
    """Activities may do anything: they run again when they fail, and their results are kept."""

    def fetch(self, url: str) -> Page:
        """Fetches a URL. `Err` is the error of the function."""
        try:
            with request("GET", url, headers={"accept": "*/*"}, first_byte_timeout=10) as response:
                body = b""
                for piece in response:
                    body += piece
                    if len(body) >= BODY_MAX:
                        break
                return Page(response.status, body[:BODY_MAX].decode("utf-8", "replace"))
        except (HttpError, ValueError) as error:
            raise Err(str(error)) from None
