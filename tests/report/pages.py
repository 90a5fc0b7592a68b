"""What tests look for in a page of the report."""

import re


def without_libraries(page: str) -> str:
    """The page without scripts and styles: libraries name addresses that they do not fetch."""
    code = r"<script(?! type=.application/json).*?</script>|<style.*?</style>"
    return re.sub(code, "", page, flags=re.S)
