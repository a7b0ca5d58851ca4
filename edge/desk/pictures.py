"""Codes in a picture: from a tablet's camera, a file, or the node's own camera. Nothing of it is kept."""

from io import BytesIO

import zxingcpp
from PIL import Image, UnidentifiedImageError

from edge import EdgeError
from sync.format.codes import is_ours

MAX_PICTURE_BYTES = 12 * 2**20  # what a tablet's camera makes of 12 megapixels, and room
_MAX_PIXELS = 64_000_000  # 64 MB in grey; a small file can claim any size
_WORK_SIDE_PX = 2400  # in a larger picture nothing more is found, and nobody waits that long
_KINDS = ("JPEG", "PNG", "WEBP")
_FORMATS = zxingcpp.BarcodeFormats(
    (zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.DataMatrix, zxingcpp.BarcodeFormat.Aztec)
)


class NoCode(EdgeError):
    """A picture without one code in it; fault: `none`, `several` or `no_picture`, as the pages name it."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"picture: {fault}")
        self.fault = fault


def code_in(picture: bytes) -> str:
    """The text of the one code that a picture (JPEG, PNG, WebP) shows, one of ours before any other; raises NoCode."""
    if len(picture) > MAX_PICTURE_BYTES:
        raise NoCode("no_picture")
    try:
        with Image.open(BytesIO(picture), formats=_KINDS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise NoCode("no_picture")
            image.draft("L", (_WORK_SIDE_PX, _WORK_SIDE_PX))  # a JPEG is unpacked at a fraction of its size
            grey = image.convert("L")
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:  # all said of torn files
        raise NoCode("no_picture") from error
    grey.thumbnail((_WORK_SIDE_PX, _WORK_SIDE_PX))
    found = [code.text for code in zxingcpp.read_barcodes(grey, _FORMATS, text_mode=zxingcpp.TextMode.Plain)]
    texts = {text for text in found if is_ours(text)} or {text for text in found if text.strip()}
    if len(texts) != 1:
        raise NoCode("several" if texts else "none")
    return texts.pop()
