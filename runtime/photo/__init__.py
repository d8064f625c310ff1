"""Photos in and out: JPEG, PNG, TIFF, WebP and BMP, 8 and 16 bit, colour and grey, with what they carry.

Importing this package loads neither Pillow nor any codec; the first photo that is read or written does.
"""

from .formats import SUFFIXES, check_photo, written_to
from .photo import Photo
from .read import read_photo
from .write import check_destination, encode_photo, write_encoded, write_photo

__all__ = [
    "SUFFIXES",
    "Photo",
    "check_destination",
    "check_photo",
    "encode_photo",
    "read_photo",
    "write_encoded",
    "write_photo",
    "written_to",
]
