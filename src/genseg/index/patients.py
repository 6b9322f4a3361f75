"""Which cases are of one patient, where no list says so: from DICOM headers, folders or file names.

The first of these that tells at least two cases of one patient from the others is taken for the whole dataset:

1. DICOM headers: cases with one PatientID, study or frame of reference. A tag that is empty, a word such as "anonymous"
   or the same in all cases says nothing. A patient is called by the first of its cases, never by the header.
2. Folders: the first folder of a case's path that holds a digit (`p01`, `TCGA_AB_0001_20010101`, `17`), differs from
   case to case and is no category (`grade2`, `site3`, `fold1`, `2019`, `20x`).
3. File names, cut down to what names the patient:
   - a TCGA barcode, or a word for a person or film with its number (`patient003`, `sub-01`, `case12`, `P12`, `seq1`),
     up to there, where something follows;
   - else without what counts at the end: slices, frames, times, visits, crops ... with their numbers (`_slice03`,
     `_z7`, `_x1024`), sides (`L`, `_OD`, `_left`), views and phases (`_CC`, `_post`), dates, or one bare number that
     follows a field with a digit (`17_003`, `A0S9V9_01`). What is left must hold a number that is no category, no year
     and no date;
   - else numbers in blocks: `x_0800 x_0801 x_0900 x_0901 x_1000 x_1001`, every block beginning alike, gaps between.

So `img_001`, `ISIC_0000001`, `case_0000`, `IM0001`, `benign (1)`, `01_dr`, `21_training`, `MCUCXR_0001_0` and hashes
are each a case of its own. Groups that a person would doubt are not used, and named in a warning: fewer than `FEWEST`
of them, or one that holds more than `LARGEST` of the cases.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import FaultCode, listed
from genseg.index.dicom_identity import dicom_patients
from genseg.index.findings import Findings
from genseg.index.names import match_key, split_name
from genseg.read.case import CaseFiles, PatientSource

FEWEST = 3
"""Fewest patients that guessed groups must make."""

LARGEST = 0.8
"""Largest share of the cases that one guessed patient may have."""

_FLAGS = re.IGNORECASE | re.DOTALL
_BARCODE = re.compile(r"TCGA[-_.][A-Z0-9]{2}[-_.][A-Z0-9]{4}(?![A-Z0-9])", _FLAGS)
_PERSONS = (
    re.compile(
        r"(?<![a-z])(?:patient|pat|subject|subj|sub|participant|volunteer|person|animal|mouse|rat|pig|donor)"
        r"[-_. ]?(?:id)?[-_. ]?\d+|(?<![a-z])sub-[a-z0-9]+(?=_)",
        _FLAGS,
    ),
    re.compile(r"(?<![a-z])case[-_. ]?\d+", _FLAGS),
    re.compile(r"(?<![a-z])(?:video|vid|movie|seq|sequence|clip)[-_. ]?\d+", _FLAGS),
    re.compile(r"(?:^|(?<=[-_. ]))(?:p|pt|id)_?\d+(?![a-z0-9])", _FLAGS),
)
_COUNTED = (
    "slice|slc|sl|frame|fr|time|timepoint|tp|visit|view|image|img|im|scan|phase|ph|section|sec|page|crop|patch|tile|roi"
    "|region|series|ser|day|week|month|session|ses|run|acq|acquisition|rep|repeat|part|stack|plane|position|pos|node"
    "|mr|ct|nr|no|idx|index"
)
_COUNTERS = (
    re.compile(rf"(?P<patient>.*\d.*?)[-_. ]?(?<![a-z])(?:{_COUNTED})[-_. ]?\d+", _FLAGS),
    re.compile(r"(?P<patient>.*\d.*?)[-_. ][a-z]\d+", _FLAGS),
    re.compile(r"(?P<patient>.*\d.*?)(?:[-_. ]|(?<=\d))(?:l|r|le|re|od|os|left|right)(?:[-_. ]?\d+)?", _FLAGS),
    re.compile(
        r"(?P<patient>.*\d.*?)[-_. ](?:cc|mlo|ap|pa|lat|lateral|frontal|ed|es|[234]ch|axial|ax|sagittal|sag|coronal|cor"
        r"|sax|lax|pre|post|baseline|followup|fu|arterial|venous|portal|delayed|t1|t1ce|t1c|t2|flair|adc|dwi"
        r"|image|img|scan|raw|orig|original)",
        _FLAGS,
    ),
    re.compile(r"(?P<patient>.*\d.*?)[-_. ](?:19|20)\d{6}", _FLAGS),
)
_BARE_NUMBER = re.compile(r"(?P<patient>.*?(?P<field>[a-z0-9]*\d[a-z0-9]*))[-_. ]+\(?\d+\)?", _FLAGS)
_CATEGORY = re.compile(
    r"(?:grade|class|type|stage|site|cent(?:er|re)|hospital|clinic|scanner|device|vendor|fold|batch|set|subset|split"
    r"|train|test|val|bi-?rads|level|group|grp|label|cat|category|score|mag|zoom|cohort|version|v|t|x|rater|reader|task"
    r"|dataset|part|chunk|shard|folder)[-_. ]?\d+|[a-z]*(?:19|20)\d{2}|\d+x|\d+(?:px|mm|um|t)|[23]d",
    _FLAGS,
)
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}(?P<mark>[-_.]?)\d{2}(?P=mark)\d{2}(?!\d)")
_COUNTER_BEFORE = re.compile(rf"(?:{_COUNTED}|[a-z])[-_. ]?\d+[-_. ]+", _FLAGS)
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d{3,})", _FLAGS)


def find_patients(entries: Sequence[CaseFiles], root: Path, findings: Findings) -> list[CaseFiles]:
    """The cases with their patients, and where that knowledge comes from; see the head of this file.

    Where a list names the patients nothing is guessed. Doubtful groups become a warning. Where nothing is known each
    case is a patient of its own, with an empty `patient_source`.
    """
    if any(case.patient_source for case in entries):
        return list(entries)
    found, source = dicom_patients(entries)
    if found is not None:
        return _with_patients(entries, found, source)
    guesses: dict[PatientSource, list[str]] = {"folders": _by_folder(entries, root), "file names": _by_name(entries)}
    for guessed_from, patients in guesses.items():
        if _shares(patients) and not _warn_doubtful(patients, root, guessed_from, findings):
            return _with_patients(entries, patients, guessed_from)
    return list(entries)


def person_in(text: str) -> str:
    """What of a file's stem or folder's name stands for the patient; all of it where nothing follows."""
    return _named_person(text) or _without_counters(text) or text


def _named_person(text: str) -> str | None:
    """The name up to the number of a person or film, where something follows (or a counter comes before)."""
    match = next(filter(None, (pattern.search(text) for pattern in (_BARCODE, *_PERSONS))), None)
    if match is None:
        return None
    if _COUNTER_BEFORE.fullmatch(text, 0, match.start()):
        return match[0]
    return text[: match.end()] if match.end() < len(text) else None


def _without_counters(text: str) -> str | None:
    """The name without what counts at its end; None where nothing does, or what is left names no patient."""
    bare = _BARE_NUMBER.fullmatch(text)
    left = text if bare is None or _CATEGORY.fullmatch(bare["field"]) else bare["patient"]
    while (match := next(filter(None, (pattern.fullmatch(left) for pattern in _COUNTERS)), None)) is not None:
        left = match["patient"]
    return left if left != text and _may_name_a_patient(left) else None


def _may_name_a_patient(text: str) -> bool:
    """Whether a part of a name holds a number that is no date, no year and belongs to no category."""
    fields = [field for field in re.split(r"[-_. ()]+", _DATE.sub("", text)) if any(map(str.isdigit, field))]
    return any(not _CATEGORY.fullmatch(field) for field in fields) and not _CATEGORY.fullmatch(text)


def _by_folder(entries: Sequence[CaseFiles], root: Path) -> list[str]:
    """The patient that each case's folders name, else the case itself."""
    folders = [_identities(case.images[0], root) for case in entries]
    for depth in range(min(map(len, folders), default=0)):
        named = [person_in(parts[depth]) for parts in folders]
        if len(set(named)) > 1:
            return named
    return [case.name for case in entries]


def _identities(image: Path, root: Path) -> list[str]:
    """The folders of a path that could name a patient, outermost first."""
    folders = image.relative_to(root).parts[:-1] if image.is_relative_to(root) else ()
    return [part for part in folders if split_name(part) is None and _may_name_a_patient(part)]


def _by_name(entries: Sequence[CaseFiles]) -> list[str]:
    """The patient that each case's name names, else the case itself."""
    names = [case.name for case in entries]
    persons = [person_in(name) for name in names]
    return persons if _shares(persons) else _blocks(names) or names


def _blocks(names: Sequence[str]) -> list[str] | None:
    """The patients of numbers in blocks; None where the numbers are not in such blocks."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    if any(match is None for match in matches) or len({(m["before"], len(m["number"])) for m in matches if m}) != 1:
        return None
    for digits in (2, 1):
        blocks: dict[str, list[int]] = defaultdict(list)
        for name in names:
            blocks[name[:-digits]].append(int(name[-digits:]))
        if _are_blocks([sorted(numbers) for numbers in blocks.values()], 10**digits):
            return [name[:-digits] for name in names]
    return None


def _are_blocks(blocks: Sequence[Sequence[int]], size: int) -> bool:
    """Whether all are runs of two or more from 0 or from 1 on, and most of the numbers below `size` stay free."""
    first = {numbers[0] for numbers in blocks}
    runs = all(len(numbers) > 1 and numbers == [*range(numbers[0], numbers[0] + len(numbers))] for numbers in blocks)
    return len(blocks) >= FEWEST and first in ({0}, {1}) and runs and 2 * max(map(len, blocks)) <= size


def _shares(patients: Sequence[str]) -> bool:
    """Whether some patient has several cases, and not one has all without being named as a person."""
    distinct = set(map(match_key, patients))
    return len(distinct) < len(patients) and (len(distinct) > 1 or _is_person(patients[0]))


def _is_person(patient: str) -> bool:
    return any(pattern.search(patient) for pattern in (_BARCODE, *_PERSONS))


def _warn_doubtful(patients: Sequence[str], root: Path, source: PatientSource, findings: Findings) -> bool:
    """Add a warning where these guessed groups are doubtful; whether they are."""
    counts = Counter(map(match_key, patients))
    largest, most = counts.most_common(1)[0]
    if len(counts) >= FEWEST and most <= LARGEST * len(patients):
        return False
    named = listed([printable(name) for name in dict.fromkeys(patients)])
    found = f"{source} that would make {len(patients)} cases {len(counts)} patients ({named})"
    if len(counts) >= FEWEST:
        found = f"{source} that would give {most} of {len(patients)} cases to one patient ({printable(largest)})"
    findings.warn(
        FaultCode.PATIENTS_UNKNOWN,
        root,
        found,
        f"at least {FEWEST} patients, none with more than {LARGEST:.0%} of the cases",
        "Each image is taken for a patient of its own. If these are patients, scores on held-out images are too high: "
        "name the patients in a CSV list (column patient).",
    )
    return True


def _with_patients(entries: Sequence[CaseFiles], patients: Sequence[str], source: PatientSource) -> list[CaseFiles]:
    """The cases with these patients; spellings that differ in letter case alone are one patient."""
    first: dict[str, str] = {}
    return [
        replace(case, patient=first.setdefault(match_key(patient), patient), patient_source=source)
        for case, patient in zip(entries, patients, strict=True)
    ]
