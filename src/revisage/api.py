"""What the package offers: restore files and images, scan, detect faces, load a restorer, probe.

The command line calls these functions and nothing else. Importing this module is cheap: the rooms' doors load what is
needed when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import cluster as clusters
from revisage import evaluation, faces, media, pipeline, provenance, restorers
from revisage.core import (
    CancelToken,
    ConfigError,
    Face,
    Image,
    OutputError,
    ProgressCallback,
    RestoreConfig,
    RestoreOptions,
    check_file,
    check_folder,
    make_config,
    parse_json,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from revisage.cluster import RayRunner
    from revisage.evaluation import Evaluation
    from revisage.faces import FaceDetector
    from revisage.media import Collection, MediaInfo
    from revisage.people import Analysis
    from revisage.pipeline import BatchEntry, BatchReport, FileReport, Networks, Report, Runner, Scan
    from revisage.provenance import Provenance
    from revisage.restorers import FaceRestorer

__all__ = [
    "analyze",
    "batch",
    "checked_image",
    "detect_faces",
    "drop_networks",
    "evaluate",
    "load_detector",
    "load_restorer",
    "probe",
    "read_config",
    "restore",
    "restore_image",
    "scan",
    "verify",
]

PathLike = str | Path
ConfigLike = RestoreConfig | Mapping[str, Any] | PathLike


def restore(
    input: PathLike,  # noqa: A002 - the name that users expect
    output: PathLike | None = None,
    *,
    config: ConfigLike | None = None,
    progress: ProgressCallback | None = None,
    scan: Scan | PathLike | None = None,
    cancel: CancelToken | None = None,
    runner: Runner | None = None,
    cluster: str | None = None,
    segment_frames: int = 250,
    **options: Unpack[RestoreOptions],
) -> Report:
    """Restore the faces of a video, an animated image or a photo; of a folder or a glob pattern of them.

    Args:
        input: a file, a folder (its media files), or a pattern such as ``album/*.jpg``; or the address of one, such as
            ``s3://bucket/tape.mp4`` or ``https://host/tape.mp4``.
        output: a file, or an address (``https`` is read-only); by default NAME_restored.EXT beside the input. For a
            folder or pattern, a folder: by default NAME_restored beside the input folder, or NAME_restored.EXT beside
            each match of a pattern.
        config: a RestoreConfig, a mapping, or a JSON file of one (a report will do).
        progress: told of each frame.
        scan: from :func:`scan`, or its file: restore these tracks without looking again; with ``start`` or ``end``
            those of them that lie there.
        cancel: stops the work from another thread.
        runner: who carries the segments of a video out; by default this process, or ``workers`` of them.
        cluster: address of a Ray cluster whose workers do: ``auto``, ``ray://HOST:PORT`` or ``HOST:PORT``. Of a folder
            or pattern each is given whole files.
        segment_frames: frames of a segment at most: what a crash may cost, and what a worker takes at once. The
            pixels do not depend on it.
        **options: fields of RestoreConfig; they override ``config``.

    Returns:
        What was done, with one entry in ``files`` per input. In a batch a file that cannot be restored has an
        ``error`` there, and the others go on.

    Raises:
        UserError: the request cannot be carried out; nothing was written but, on a full disk, what the message says.
        ProcessingError: a step of the work failed; doing the same again goes on where it stopped.
        CancelledError: stopped through ``cancel``; nothing partial is left.
        KeyboardInterrupt: stopped by Ctrl-C; nothing partial is left.
    """
    settings = make_config(read_config(config), **options)
    restorers.check_model(settings.model)
    given = _read_scan(scan)
    several = media.is_collection(input)
    found = media.find_media(input)
    pipeline.check_side_folders(settings, None if several else _target(found.files[0], output, settings))
    pipeline.check_store(settings)
    networks = pipeline.kept_networks(settings)

    with _on_cluster(cluster, settings) as crew:

        def one(source: Path, target: Path, settings: RestoreConfig = settings) -> FileReport:
            return pipeline.restore_file(
                source,
                target,
                settings,
                networks,
                scan=given,
                progress=progress,
                cancel=cancel,
                runner=crew or runner,
                segment_frames=segment_frames,
            )

        if several:
            run = partial(pipeline.run_batch, progress=progress, cancel=cancel, elsewhere=crew)
            files = _restore_batch(found, input, output, settings, one, run, given)
        else:
            source = found.files[0]
            target = _target(source, output, settings)
            if settings.dry_run and not media.is_address(target):
                check_file(
                    target, overwrite=settings.overwrite, writes=False
                )  # its folder is not made, as a batch's is
            files = [one(source, target)]
    return _report(settings, networks, files, [str(path) for path in found.skipped])


def batch(
    inputs: Sequence[PathLike],
    output: PathLike,
    *,
    listed: PathLike | None = None,
    config: ConfigLike | None = None,
    recursive: bool = False,
    jobs: int = 1,
    retry: int = 0,
    progress: ProgressCallback | None = None,
    on_entry: Callable[[BatchEntry, int, int], None] | None = None,
    cancel: CancelToken | None = None,
    cluster: str | None = None,
    **options: Unpack[RestoreOptions],
) -> BatchReport:
    """Restore many files into a folder, keeping their tree. What an earlier run finished is skipped; a file that cannot
    be restored does not stop the others.

    Args:
        inputs: files, folders (their media files) and patterns.
        output: folder; it also gets a journal (``batch.jsonl``) and a page about the run (``batch.html``).
        listed: a text file with further inputs, one to a line.
        config: a RestoreConfig, a mapping, or a JSON file of one (a report will do).
        recursive: search folders to their depth.
        jobs: files at work at once, each in a process of its own.
        retry: how often a file is tried again whose restoration failed by no mistake of the user's.
        progress: told of each frame.
        on_entry: told of each file that is finished, how many are, and of how many.
        cancel: stops the work from another thread.
        cluster: address of a Ray cluster whose workers restore the files, as for :func:`restore`; instead of ``jobs``.
        **options: fields of RestoreConfig; they override ``config``.

    Returns:
        An entry for each file, and the exit code that the command line would give.

    Raises:
        UserError: the request cannot be carried out; nothing was written.
        CancelledError: stopped through ``cancel``; what is finished stays, and is skipped by the next run.
    """
    settings, folder = make_config(read_config(config), **options), media.as_path(output)
    for name in ("report", "compare", "profile"):
        if getattr(settings, name) is not None:
            raise ConfigError(f"{name} belongs to one file; leave it out of a batch")
    check_folder(folder)
    pipeline.check_side_folders(settings)
    pipeline.check_store(settings)
    named = [*inputs, *(pipeline.read_list(Path(listed)) if listed is not None else ())]
    if not named:
        raise ConfigError("a batch needs inputs: name files, folders or patterns, or a list of them")
    files = pipeline.batch_files(named, folder, recursive=recursive, **_named(settings, ""))
    networks = pipeline.kept_networks(settings)
    notes = pipeline.notes_folder(folder)

    def one(source: Path, target: Path) -> FileReport:
        return pipeline.restore_file(source, target, settings, networks, progress=progress, cancel=cancel)

    with _on_cluster(cluster, settings) as crew:
        report = pipeline.run_batch(
            files,
            settings,
            one,
            jobs=jobs,
            retry=retry,
            journal=notes / pipeline.JOURNAL,
            progress=progress,
            on_entry=on_entry,
            cancel=cancel,
            elsewhere=crew,
        )
    if not settings.dry_run:
        pipeline.save_summary(report, folder)
    return report


@contextmanager
def _on_cluster(address: str | None, config: RestoreConfig) -> Iterator[RayRunner | None]:
    """The workers of a cluster, if one is named."""
    if address is None:
        yield None
        return
    with clusters.connect(address, config) as crew:
        yield crew


def _target(source: Path, output: PathLike | None, config: RestoreConfig) -> Path:
    """Where the output of one file goes: beside it, into a folder under its name as it can be written, or as named."""
    if output is None:
        return media.default_output(source, **_named(config, "_restored"))
    path = media.as_path(output)
    try:
        return path / media.output_name(source, **_named(config, "")) if path.is_dir() else path
    except OSError:  # a name that the system does not take is refused with the other outputs
        return path


def _named(config: RestoreConfig, suffix: str) -> dict[str, Any]:
    return {"suffix": suffix if config.suffix is None else config.suffix, "ext": config.ext}


def _restore_batch(
    found: Collection,
    named: PathLike,
    output: PathLike | None,
    config: RestoreConfig,
    one: Callable[[Path, Path, RestoreConfig], FileReport],
    run: Callable[..., BatchReport],
    given: Scan | None,
) -> list[FileReport]:
    """One file after the other; what is wrong with one is noted, and the others go on."""
    of_one = {"scan": given, "compare": config.compare, "profile": config.profile}
    for option in (name for name, value in of_one.items() if value is not None):
        raise ConfigError(f"{option} belongs to one file, {named} stands for several; name one file")
    single = config.model_copy(update={"report": None})
    targets = _batch_targets(found, named, output, config)
    done = run(targets, single, lambda source, target: one(source, target, single))
    return [entry.report for entry in done.entries]


def _batch_targets(
    found: Collection, named: PathLike, output: PathLike | None, config: RestoreConfig
) -> dict[Path, Path]:
    if output is not None:
        if media.as_path(output).is_file():
            raise OutputError(f"{output} is a file; {named} needs a folder for its outputs")
        return found.outputs(media.as_path(output), **_named(config, ""))
    folder = media.as_path(named)
    if folder.is_dir():
        resolved = folder.resolve()
        return found.outputs(resolved.with_name(f"{resolved.name}_restored"), **_named(config, ""))
    return {file: media.default_output(file, **_named(config, "_restored")) for file in found.files}


_STATED_ANEW = {"collect", "consent", "c2pa_key", "c2pa_cert"}


def _report(config: RestoreConfig, networks: Networks, files: list[FileReport], skipped: list[str]) -> Report:
    report = pipeline.Report(
        # A report can be fed back as a config; consent is about one source, and a signature about one file: each is
        # stated anew.
        config=config.model_dump(mode="json", exclude_unset=True, exclude=_STATED_ANEW),
        model=next((entry.model for entry in files if entry.model), None),
        detector=pipeline.detector_summary(networks),
        machine=pipeline.machine(),
        dry_run=config.dry_run,
        files=files,
        skipped=skipped,
    )
    if config.report is not None and not config.dry_run:
        report.save(config.report, overwrite=config.overwrite)
    return report


def read_config(config: ConfigLike | None) -> RestoreConfig | Mapping[str, Any] | None:
    """A config as a record or mapping; a file may hold one itself or a report with one in it."""
    if not isinstance(config, (str, Path)):
        return config
    try:
        data = parse_json(Path(config).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no such config file: {config}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config} is not a JSON file: {' '.join(str(error).split())}") from None
    if isinstance(data, dict) and isinstance(data.get("config"), dict):
        data = data["config"]
    if not isinstance(data, dict):
        raise ConfigError(f"{config} holds no options; expected a JSON object, or a report with one under 'config'")
    return data


def _read_scan(scan: Scan | PathLike | None) -> Scan | None:
    return pipeline.load_scan(Path(scan)) if isinstance(scan, (str, Path)) else scan


def restore_image(image: Image, *, config: ConfigLike | None = None, **options: Unpack[RestoreOptions]) -> Image:
    """Restore the faces in one image.

    Args:
        image: ``(H, W, 3) uint8 RGB``; not changed.
        config: as for :func:`restore`.
        **options: fields of RestoreConfig; those about files and time do nothing here.

    Returns:
        ``(H * upscale, W * upscale, 3) uint8 RGB``, a new array.

    Raises:
        ValueError: another shape or dtype.
        UserError: an option or model is not there.
    """
    settings = make_config(read_config(config), **options)
    return pipeline.restored_image(checked_image(image), settings, networks=pipeline.kept_networks(settings))


def checked_image(image: Image) -> Image:
    """The image, contiguous.

    Raises:
        ValueError: it is no ``(H, W, 3) uint8`` image.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"expected an image as uint8 (H, W, 3) RGB, got {got}")
    if 0 in image.shape:
        raise ValueError(f"expected an image with pixels, got shape {image.shape}")
    return np.ascontiguousarray(image)


def scan(
    input: PathLike,  # noqa: A002
    *,
    config: ConfigLike | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    **options: Unpack[RestoreOptions],
) -> Scan:
    """Find the shots and faces of a video, an animated image or a photo, without restoring.

    Save it with ``.save(path)``, edit it, and hand it to :func:`restore`.

    Args:
        input: a file.
        config, **options: as for :func:`restore`; detector, threshold, aligned, deinterlace, start and end count.
        progress: told of each frame.
        cancel: stops the work from another thread.

    Raises:
        InputError: there is nothing to read.
        CancelledError: stopped through ``cancel``.
    """
    settings = make_config(read_config(config), **options)
    path = media.as_path(input)
    info = media.probe(path)
    return pipeline.scan_source(
        path,
        pipeline.fingerprint(path),
        settings,
        pipeline.kept_networks(settings),
        total=info.frame_count,
        progress=progress,
        cancel=cancel,
    )


def analyze(
    input: PathLike,  # noqa: A002
    *,
    scan: Scan | PathLike | None = None,
    every: float | None = 0.2,
    config: ConfigLike | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    **options: Unpack[RestoreOptions],
) -> tuple[Analysis, Scan]:
    """Who is in view when, how heads are held, and what faces show. Names come from ``who``: ``NAME=photo.jpg``.

    Args:
        input: a video, an animated image or a photo.
        scan: from :func:`scan`, or its file, to save looking for faces again.
        every: seconds between two looks at a face; None tells people apart and reads nothing else.
        config, **options: as for :func:`restore`; ``who``, ``reader`` and what a scan depends on count.
        progress: told of each frame.
        cancel: stops the work from another thread.

    Returns:
        The analysis (``to_json``, ``to_csv``, ``to_vtt``; :func:`revisage.people.analysis_page` makes a page of it),
        and the scan with the person of each track in it, which :func:`restore` takes with ``only`` and ``except_``.

    Raises:
        ModelError: there is nothing to tell people apart by.
        InputError: there is nothing to read, or it is not clear who is who.
        CancelledError: stopped through ``cancel``.
    """
    settings = make_config(read_config(config), **options)
    if every is not None and not 0 < every <= 3600:
        raise ConfigError(f"every cannot be {every:g}: it is seconds between two looks, above 0 and up to 3600")
    path, networks = media.as_path(input), pipeline.kept_networks(settings)
    info, source_print = media.probe(path), pipeline.fingerprint(path)
    _ = networks.recogniser, networks.known_people  # what is wrong with them is known before the work begins
    found = _read_scan(scan)
    if found is None:
        found = pipeline.scan_source(
            path, source_print, settings, networks, total=info.frame_count, progress=progress, cancel=cancel
        )
    else:
        found = found.asked(settings, info, source_print)
    told, analysis = pipeline.told_apart(found, path, networks, progress=progress, cancel=cancel, every=every)
    return analysis, told


def detect_faces(
    image: Image,
    *,
    detector: str = "compact",
    threshold: float | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> list[Face]:
    """Find the faces in one image.

    Args:
        image: ``(H, W, 3) uint8 RGB``.
        detector: compact, retinaface-r50, retinaface-mobile or yunet.
        threshold: score from which a face counts; the detector's own when None.
        device, engine, precision: where and how the network runs.

    Returns:
        Faces with ``.box`` (x, y, width, height), ``.landmarks`` (5 x 2: left eye, right eye, nose, left and right
        mouth corner, as the viewer sees them when the face is upright) and ``.score``, the largest first. Faces that
        lie on their side or stand on their head are found by ``compact`` and left out by other detectors: their
        landmarks would be wrong.

    Raises:
        ValueError: another shape or dtype.
        UserError: an option is not allowed, or the model is not there.
    """
    checked = checked_image(image)
    config = make_config(
        detector=detector, detection_threshold=threshold, device=device, engine=engine, precision=precision
    )
    loaded = pipeline.kept_networks(config).detector
    return loaded(checked)


def load_detector(
    detector: str = "compact",
    *,
    threshold: float | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
) -> FaceDetector:
    """A face detector: called with an ``(H, W, 3) uint8 RGB`` image, it gives the faces in it, the largest first.

    What :func:`detect_faces` calls.

    Args:
        detector: compact, retinaface-r50, retinaface-mobile or yunet; fetched when it is not there yet.
        threshold: score from which a face counts; the detector's own when None.
        device, engine, precision: where and how the network runs.

    Raises:
        UserError: an option is not allowed, or the model is not there.
    """
    config = make_config(
        detector=detector, detection_threshold=threshold, device=device, engine=engine, precision=precision
    )
    place = {"device": config.device, "engine": config.engine, "precision": config.precision}
    return faces.load_detector(config.detector, **place, threshold=config.detection_threshold)


def drop_networks() -> None:
    """Let go of the networks that :func:`restore` and the other functions keep loaded between calls."""
    pipeline.drop_networks()


def evaluate(
    restored: PathLike,
    reference: PathLike,
    *,
    input: PathLike | None = None,  # noqa: A002
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a restored video, animated image or photo, or a folder of them, against the undamaged original.

    Args:
        restored: a file, or a folder whose files have the names of the reference's.
        reference: the undamaged original.
        input: what was restored, to be measured beside it.
        progress: told of each frame.
        cancel: stops the work from another thread.
        **options: fields of :class:`revisage.evaluation.EvaluateSettings`: area, resize, match, every,
            max_frames, samples, detector, weights, device.

    Returns:
        The scores of the sides ``restored``, ``input`` and ``reference``. What cannot be measured has a note instead
        of a value.

    Raises:
        UserError: a file cannot be read, frames have no partner, or an option is not allowed.
        CancelledError: stopped through ``cancel``.
    """
    sides = {"restored": Path(restored)} | ({} if input is None else {"input": Path(input)})
    return evaluation.evaluate_sides(
        Path(reference), sides, evaluation.make_settings(**options), progress=progress, cancel=cancel
    )


def load_restorer(
    name_or_path: PathLike = "compact", *, device: str = "auto", engine: str = "auto", precision: str = "auto"
) -> FaceRestorer:
    """A face restorer: called with ``(N, size, size, 3) uint8 RGB`` crops, it gives the same shape back.

    Args:
        name_or_path: a name of ``revisage models list`` (fetched when it is not there yet), or a weights file.
        device: auto, cpu, cuda or mps.
        engine: auto, torch or openvino.
        precision: auto, fp32 or bf16.

    Raises:
        ModelError: the model is unknown, absent, damaged, or no face restorer.
        ConfigError: settings that do not go together.
        DeviceError: the device is not on this machine.
    """
    return restorers.load_restorer(name_or_path, device=device, engine=engine, precision=precision)


def probe(path: PathLike) -> MediaInfo:
    """What a video, an animation or a picture holds.

    Raises:
        InputError: no such file, or nothing in it that has frames.
    """
    return media.probe(path)


def verify(path: PathLike, *, trust_anchors: PathLike | None = None) -> Provenance:
    """What a file says of faces that revisage restored in it: labels, and a C2PA manifest with its state of validation.

    A label proves nothing: it can be taken out, and anybody can write one.

    Args:
        path: of a video, an animation or a picture.
        trust_anchors: certificates (PEM) of those who may vouch for signers of manifests.

    Raises:
        InputError: no such file, or nothing in it that has frames.
        ConfigError: the certificates cannot be read.
    """
    return provenance.read_provenance(Path(path), None if trust_anchors is None else Path(trust_anchors))
