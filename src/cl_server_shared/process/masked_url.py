"""URLs as people may see them: without their passwords."""

import re
from typing import Final, final, override
from urllib.parse import unquote

_MASK: Final = "***"
_PARAMETER: Final = re.compile(r"(?P<name>[?&][^=?&/@]+)=[^&#]*")
_SECRET_NAME: Final = re.compile(r"passw|pwd|secret|token|api_?key", re.IGNORECASE)
# Up to the last `@`: who forgets to encode one in a password must not see the rest of it printed.
_LOGIN: Final = re.compile(r"(?P<user>://[^/:@]*):.*@", re.DOTALL)
_QUERY: Final = re.compile(r"\?[^=?&/@]+=")


def masked_url(url: str) -> str:
    """Return *url* with `***` for each password: before the host and in the query; total.

    A text that holds none comes back as it is. Where it cannot be told whether an unencoded text
    belongs to a password, it is masked too.
    """
    shown = _PARAMETER.sub(_masked, url)
    query = _QUERY.search(shown)
    end = len(shown) if query is None or "@" not in shown[: query.start()] else query.start()
    return _LOGIN.sub(rf"\g<user>:{_MASK}@", shown[:end]) + shown[end:]


def _masked(parameter: re.Match[str]) -> str:
    is_secret = _SECRET_NAME.search(unquote(parameter["name"]))
    return f"{parameter['name']}={_MASK}" if is_secret else parameter[0]


@final
class MaskedUrl(str):
    """A URL that is itself to programs, and shows no password where its `repr` is printed."""

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        return repr(masked_url(self))
