"""What a checkpoint file is, by its first bytes and its list of parts: other formats are told by their names, and what
would unpack to more than it is, is refused, before anything reads it. No torch here."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from runtime.errors import InputError, PackageError, one_line

_LARGEST = 4 << 30  # bytes; the official one, with its optimizer, has a tenth
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
_SIGNS = {
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x1f\x8b": "a gzip file: unpack it first",
    b"BZh": "a bzip2 file: unpack it first",
    b"\xfd7zXZ": "an xz file: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x93NUMPY": "an array of numpy's",
    b"GGUF": "a GGUF file",
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself: `git lfs pull` gets it",
    b"<": "a web page or XML, not the file itself: download it again",
    b"%PDF": "a PDF",
}


def check_file(path: Path) -> None:
    """Raises InputError for what is no regular file, cannot be read or is huge; PackageError for another format."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: a directory, or no regular file; give the checkpoint's own file.")
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint ({error.strerror}); check the path.") from error
    if found.st_size > _LARGEST:
        raise InputError(
            f"{path}: {found.st_size:,} bytes, and no checkpoint of a DiffLL has so many; save its weights alone."
        )
    what = _foreign(path, head, found.st_size)
    if what:
        raise PackageError(
            f"{path}: {what}. A checkpoint of torch.save (.pth.tar, .pth, .pt) or .safetensors is wanted."
        )


def _foreign(path: Path, head: bytes, size: int) -> str:
    """What else than a checkpoint it is, or nothing."""
    told = next((what for sign, what in _SIGNS.items() if head.startswith(sign)), "")
    if told:
        return told
    safetensors = path.suffix == ".safetensors"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8:
        return "" if safetensors else "a safetensors file: name it so (.safetensors)"
    if head[257:262] == b"ustar":
        return "a tar archive, not a checkpoint that is named so (.pth.tar): unpack it first"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x3a", b"\x1a"):
        return "an ONNX graph"
    if head.startswith(b"PK\x03\x04"):
        zipped = _zipped(path, size)
        return zipped or ("a checkpoint of torch.save: name it so (.pth)" if safetensors else "")
    if head[:1] == b"\x80" and head[2:3] and not head.startswith(_LEGACY) and head[1] <= 5 and not safetensors:
        other = f"pickle protocol {head[1]}"
        return (
            ""
            if head[1] == 2
            else f"{other}: a plain pickle (pickle.dump, joblib) or a torch.save with another than protocol 2"
        )
    return ""


def _zipped(path: Path, size: int) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename.partition("/")[2] or entry.filename for entry in entries]
            if "constants.pkl" in names or any(name.startswith("code/") for name in names):
                return "a TorchScript archive (torch.jit.save), which holds code: save the model's state_dict"
            if "data.pkl" not in names:
                return f"a zip archive without a checkpoint in it ({', '.join(names[:3])[:90]!r})"
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if packed or sum(entry.file_size for entry in entries) > size:
                return "packed in a way that torch.save does not, to unpack to more than it is"
            with archive.open(entries[names.index("data.pkl")]) as pickled:
                start = pickled.read(2)
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        return f"damaged or truncated ({size:,} bytes; {one_line(error)}); copy or download it again"
    other = start[:1] == b"\x80" and start[1:] != b"\x02"
    cure = "only torch.save's own, 2, is read: save it without pickle_protocol"
    return f"written with pickle protocol {start[1]}, and {cure}" if other else ""
