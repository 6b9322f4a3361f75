"""What goes wrong with one image of many is that image's problem, and the others go on."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import DataError, Fault, FaultCode, GensegError

_UNUSABLE_NAMES = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_NO_MEMORY = ("can't allocate memory", "out of memory", "bad allocation", "bad_alloc")
_PACKAGE = Path(__file__).parents[1]


@contextmanager
def one_image(image: Path | str) -> Iterator[None]:
    """Turn what the body raises about one image into a DataError that names it.

    Memory that runs out becomes TOO_LARGE, a name that the system does not take UNUSABLE_NAME, and whatever nobody
    foresaw UNEXPECTED, with the kind of error and its place but without its words, which can quote a patient's name.

    Other errors of the system, such as a full disk, and genseg's own ones pass: they concern all images.
    """
    name = printable(image)
    try:
        yield
    except GensegError:
        raise
    except OSError as error:
        if error.errno not in _UNUSABLE_NAMES:
            raise
        raise DataError([_unusable(name, error)]) from None
    except Exception as error:
        raise DataError([_too_large(name) if _ran_out_of_memory(error) else _unexpected(name, error)]) from None


def _ran_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY)


def _too_large(name: str) -> Fault:
    cure = "Crop or scale it down, or use a machine with more memory."
    return Fault(FaultCode.TOO_LARGE, name, "an image that memory is too small for", "an image that fits", cure)


def _unusable(name: str, error: OSError) -> Fault:
    found = f"a name that cannot be used for results ({error.strerror})"
    return Fault(FaultCode.UNUSABLE_NAME, name, found, "a shorter or simpler name", "Rename the image.")


def _unexpected(name: str, error: Exception) -> Fault:
    found = f"an unexpected error ({type(error).__name__} at {_place(error)})"
    cure = "Report it with this place. Leave the image out, or export it again."
    return Fault(FaultCode.UNEXPECTED, name, found, "an image that can be worked on", cure)


def _place(error: Exception) -> str:
    """File and line of genseg's own code where an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    last = frames[-1]
    return f"{Path(last.filename).relative_to(_PACKAGE).as_posix()}, line {last.lineno}"
