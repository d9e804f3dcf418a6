"""A DICOM archive (PACS) over the web: studies are found, fetched and given results back.

DICOMweb, PS3.18: QIDO-RS, WADO-RS and STOW-RS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydicom.dataset import Dataset

from anypet.dicom.files import find_headers, write_file
from anypet.errors import AnyPETError

if TYPE_CHECKING:
    from dicomweb_client.web import DICOMwebClient

IMAGES = ("PT", "CT")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_WHY = {
    401: "it wants a user and a password",
    403: "this user may not",
    404: "what was asked for is not there",
}
_BATCH = 16  # objects in one request
_AS_STORED = (("application/dicom", "*"),)  # no transcoding: what the scanner wrote


@dataclass(frozen=True)
class Study:
    """A study in the archive.

    Args:
        uid: Study Instance UID.
        patient_id, patient_name, date, time, description, accession: as the archive says, maybe "".
        modalities: of its series.
        instances: how many objects; 0 where the archive does not say.
    """

    uid: str
    patient_id: str
    patient_name: str
    date: str
    time: str
    description: str
    accession: str
    modalities: tuple[str, ...]
    instances: int


@dataclass(frozen=True)
class Series:
    """A series in the archive: Series Instance UID, modality, number, description and count of objects."""

    uid: str
    modality: str
    number: str
    description: str
    instances: int


class Archive:
    """A DICOM archive.

    Args:
        url: of its DICOMweb services, such as https://pacs.example/dicom-web.
        user, password: HTTP basic authentication, where it is asked for.
        token: a bearer token in their place.
        timeout_s: seconds that the archive may be silent.

    Raises:
        AnyPETError: not an http or https address, or dicomweb-client is not installed.
    """

    def __init__(
        self, url: str, user: str = "", password: str = "", token: str = "", timeout_s: float = 60.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AnyPETError(f"{url!r} is no address of an archive; expected https://HOST/dicom-web")
        try:
            from dicomweb_client.web import DICOMwebClient
        except ImportError as error:
            raise AnyPETError("dicomweb-client is not installed; pip install 'anypet[pacs]'") from error
        self.name = parts.hostname
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._client: DICOMwebClient = DICOMwebClient(
            url.rstrip("/"), session=_session(user, password), headers=headers, timeout=timeout_s
        )
        self._client.set_http_retry_params(retry=False)  # else half a minute until a wrong address is said

    def find(
        self,
        *,
        patient: str = "",
        name: str = "",
        date: str = "",
        accession: str = "",
        study: str = "",
        modality: str = "PT",
        limit: int = 100,
    ) -> list[Study]:
        """Studies that hold a modality, newest first.

        Args:
            patient: Patient ID.
            name: parts of the patient's name, in the archive's order.
            date: YYYYMMDD, or a range YYYYMMDD-YYYYMMDD whose ends may be left out.
            accession: Accession Number.
            study: Study Instance UID.
            modality: "" for any.
            limit: how many at most.

        Raises:
            AnyPETError: the archive does not answer, or refuses.
        """
        asked = {
            "PatientID": patient,
            "PatientName": "*".join(["", *re.split(r"[\s^*]+", name.strip()), ""]) if name else "",
            "StudyDate": date,
            "AccessionNumber": accession,
            "StudyInstanceUID": study,
            "ModalitiesInStudy": modality,
        }
        fields = ["StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"]
        with self._said():
            answer = self._client.search_for_studies(
                search_filters={key: value for key, value in asked.items() if value},
                fields=fields, limit=limit,
            )  # fmt: skip
        found = [_study(Dataset.from_json(one)) for one in answer]
        # not every archive can search by modality
        kept = [one for one in found if not modality or not one.modalities or modality in one.modalities]
        return sorted(kept, key=lambda one: (one.date, one.time), reverse=True)[:limit]

    def series(self, study: str) -> list[Series]:
        """The series of a study.

        Raises:
            AnyPETError: as `find`; or this is no UID.
        """
        with self._said():
            answer = self._client.search_for_series(checked_uid(study))
        return [_series(Dataset.from_json(one)) for one in answer]

    def fetch(
        self,
        study: str,
        folder: Path,
        *,
        series: Sequence[str] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Copies the PET and CT of a study into a new folder.

        Args:
            study: Study Instance UID.
            folder: to make; there is none of this name unless everything was fetched.
            series: Series Instance UIDs; by default every PET and CT series.
            progress: called with objects fetched and to fetch.

        Raises:
            AnyPETError: as `find`; the folder is there already, or the study holds no such series.
        """
        if folder.exists():
            raise AnyPETError(f"{folder} is there already; name another folder")
        known = self.series(study)
        wanted = [one for one in known if (one.uid in series if series else one.modality in IMAGES)]
        if not wanted or (series and len(wanted) < len(set(series))):
            there = ", ".join(f"{one.modality} {one.uid}" for one in known) or "nothing"
            raise AnyPETError(f"study {study}: the series wanted are not on {self.name}; it has {there}")
        planned, done = sum(one.instances for one in wanted), 0
        part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        try:
            for number, one in enumerate(wanted, start=1):
                place = part / f"series{number:02d}"  # nothing that the archive says becomes a path
                place.mkdir(parents=True)
                for count, dataset in enumerate(self._objects(study, one.uid), start=1):
                    write_file(dataset, place / f"{count:05d}.dcm")
                    done += 1
                    if progress is not None:
                        progress(done, max(planned, done))
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return folder

    def _objects(self, study: str, series: str) -> Iterator[Dataset]:
        with self._said():
            yield from self._client.iter_series(study, checked_uid(series), media_types=_AS_STORED)

    def store(self, datasets: Iterable[Dataset]) -> list[str]:
        """Gives objects to the archive, a few at a time -> their SOP Instance UIDs.

        Raises:
            AnyPETError: as `find`; or the archive did not take all of them.
        """
        stored: list[str] = []
        given = iter(datasets)
        while batch := list(itertools.islice(given, _BATCH)):
            with self._said():
                answer = self._client.store_instances(batch)
            failed = [str(one.ReferencedSOPInstanceUID) for one in answer.get("FailedSOPSequence") or ()]
            if failed:
                raise AnyPETError(
                    f"{self.name} took {len(stored) + len(batch) - len(failed)} objects, but not {failed[0]}"
                )
            stored += [str(dataset.SOPInstanceUID) for dataset in batch]
        return stored

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Errors of the connection in words."""
        from requests import HTTPError, RequestException

        try:
            yield
        except HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            raise AnyPETError(f"{self.name} refuses (HTTP {status}): {_WHY.get(status, error)}") from error
        except RequestException as error:
            why = f"{_short(error)}; is the address right?"
            raise AnyPETError(f"{self.name} does not answer: {why}") from error
        except (ValueError, KeyError) as error:  # dicomweb-client on what is no DICOMweb
            raise AnyPETError(f"{self.name} does not speak DICOMweb at this address: {error}") from error


def read_objects(paths: Iterable[Path]) -> Iterator[Dataset]:
    """The DICOM objects in files and folders, one after another.

    Raises:
        AnyPETError: there is no such file, or one that is no DICOM.
    """
    from pydicom import dcmread

    for path in paths:
        if not path.exists():
            raise AnyPETError(f"{path}: no such file or folder")
        files = [file for file, _ in find_headers(path)] if path.is_dir() else [path]
        if not files:
            raise AnyPETError(f"{path}: no DICOM object in this folder")
        for file in files:
            try:
                yield dcmread(file)
            except Exception as error:  # pydicom raises many kinds on damaged files
                raise AnyPETError(f"{file}: no DICOM, or damaged: {error}") from error


def checked_uid(text: str) -> str:
    """A UID (PS3.5, 9.1).

    Raises:
        AnyPETError: it is none.
    """
    if len(text) > 64 or not _UID.fullmatch(text):
        raise AnyPETError(f"{text[:70]!r} is no UID; expected digits and dots")
    return text


def _session(user: str, password: str) -> Any:
    """A session of requests that leaves wildcards as they are: Orthanc 1.10 does not know them escaped."""
    from requests import PreparedRequest, Response, Session

    class Plain(Session):
        def send(self, request: PreparedRequest, **how: Any) -> Response:
            request.url = (request.url or "").replace("%2A", "*")
            return super().send(request, **how)

    session = Plain()
    session.auth = (user, password) if user else None
    return session


def _study(told: Dataset) -> Study:
    modalities = told.get("ModalitiesInStudy") or ()
    return Study(
        uid=_text(told, "StudyInstanceUID"), patient_id=_text(told, "PatientID"),
        patient_name=_text(told, "PatientName"), date=_text(told, "StudyDate"),
        time=_text(told, "StudyTime"), description=_text(told, "StudyDescription"),
        accession=_text(told, "AccessionNumber"),
        modalities=(modalities,) if isinstance(modalities, str) else tuple(map(str, modalities)),
        instances=int(told.get("NumberOfStudyRelatedInstances") or 0),
    )  # fmt: skip


def _series(told: Dataset) -> Series:
    return Series(
        _text(told, "SeriesInstanceUID"), _text(told, "Modality"), _text(told, "SeriesNumber"),
        _text(told, "SeriesDescription"), int(told.get("NumberOfSeriesRelatedInstances") or 0),
    )  # fmt: skip


def _text(told: Dataset, keyword: str) -> str:
    value: Any = told.get(keyword)
    return "" if value is None else str(value)


def _short(error: Exception) -> str:
    """What went wrong, without the layers above it."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    return str(error)[:200] or type(error).__name__
