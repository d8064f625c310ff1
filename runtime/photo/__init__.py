"""Photos in and out: JPEG, PNG, TIFF, WebP, BMP, AVIF and HEIC, 8 and 16 bit, colour and grey, with what they carry;
camera raw files in.

Importing this package loads neither Pillow nor any codec; the first photo that is read or written does.
"""

from .formats import RAW_SUFFIXES, RESULT_OF_RAW, SUFFIXES, check_photo, written_to
from .photo import Photo
from .read import read_photo
from .write import check_destination, encode_photo, write_encoded, write_photo

__all__ = [
    "RAW_SUFFIXES",
    "RESULT_OF_RAW",
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
