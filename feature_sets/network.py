"""Is the Hugging Face hub within reach: asked once, before its clients try for half a minute."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 5.0


def hub_answers(endpoint: str) -> bool:
    """Whether anything answers at this address.

    Args:
        endpoint: for example ``huggingface_hub.constants.ENDPOINT``.
    """
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        # a refused certificate is an answer too: the hub's clients bring their own
        return isinstance(getattr(error, "reason", None), ssl.SSLError)
    return True
