"""Pictures of boards for the page, each tag kept once: boards of one game have nearly all of theirs in common."""

import re

SVG_PART = re.compile(r"<[^>]*>[^<]*")
"""A tag and the text after it."""


class PictureParts:
    """The tags of SVG pictures, each kept once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def numbers(self, svg: str) -> list[int]:
        """A picture as the numbers of its tags."""
        return [self._places.setdefault(part, len(self._places)) for part in SVG_PART.findall(svg)]

    def texts(self) -> list[str]:
        """All tags: those of a picture, joined, are the picture."""
        return list(self._places)
