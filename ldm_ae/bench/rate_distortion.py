"""A comparison of codecs by rate and distortion: reports, a summary, curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ldm_ae.bench.coder import Coder
from ldm_ae.bench.image_codecs import TUNED, MissingCodecError, PillowCoder
from ldm_ae.bench.measure import measure_coder, why_not_reusable
from ldm_ae.bench.model_coder import ModelCoder
from ldm_ae.bench.panel import measured
from ldm_ae.bench.peak_memory import peak_memory
from ldm_ae.bench.photos import Photo
from ldm_ae.bench.published import published_for
from ldm_ae.bench.rd_summary import (
    as_compressed,
    bd_rates,
    curve,
    format_bd_table,
    independent_first,
    metric_label,
    trained_on,
)
from ldm_ae.bench.report import provenance, write_json
from ldm_ae.bench.vvc import VVCCoder
from ldm_ae.errors import UserError
from ldm_ae.metrics.panel import Panel
from ldm_ae.viz.rd_plots import Line, save_rd_curves

Opener = Callable[[], Coder]  # picklable

CODECS: dict[str, Opener] = {name: partial(PillowCoder, name) for name in TUNED}
CODECS["vvc"] = VVCCoder
PROTOCOL = {
    "size": "native",
    "rate": "8 times the bytes of the file, header included, over the pixels of the image",
    "scores": "against uint8 RGB, decoded to uint8 RGB; a mean is the plain mean over images, at "
    "one setting for all images",
    "times": "of one image in memory; *_cpu_seconds is processor time of the process and of those "
    "it starts, which other load on the machine does not lengthen",
    "bd_rate": "per cent of rate against the anchor at equal metric: PCHIP of the log of the rate "
    "over the metric as it is (not in dB but for PSNR), over the common range; points that a "
    "cheaper one of the same codec equals or beats are left out; of a codec with several settings, "
    "the upper envelope for that metric",
    "trained_on": "the metric whose network was in a model's loss, from its export; null: unknown",
}


def open_coders(
    folders: Mapping[str, Path],
    qualities: Sequence[int],
    codecs: Sequence[str],
    own: Mapping[str, Sequence[int]] | None = None,
) -> tuple[dict[str, Coder], dict[str, Opener], dict[str, str]]:
    """Coders of the models and codecs, what opens each anew, and why others cannot be had here.

    qualities: of the models, but for those that have their `own`. Raises UserError for a model
    that is named as a codec is, and if nothing is left.
    """
    openers: dict[str, Opener] = {}
    for name, folder in folders.items():
        if name in CODECS:
            raise UserError(
                f"--model {name}={folder}: {name} is a codec's name; say --model"
                f" OTHER_NAME={folder}"
            )
        openers[name] = partial(ModelCoder, name, folder, (own or {}).get(name, qualities))
    openers |= {name: CODECS[name] for name in codecs}
    coders: dict[str, Coder] = {}
    missing: dict[str, str] = {}
    for name, opener in openers.items():
        try:
            coders[name] = opener()
        except MissingCodecError as error:
            missing[name] = str(error)
    if not coders:
        raise UserError("nothing to measure: no --model, and none of the --codecs can be had here")
    return coders, openers, missing


def measure_all(
    coders: Mapping[str, Coder],
    openers: Mapping[str, Opener],
    photos: Sequence[Photo],
    panel: Panel,
    out: Path,
    *,
    reuse: Path | None = None,
    memory: bool = True,
) -> dict[str, dict[str, Any]]:
    """Reports by codec, each written as soon as it is whole. reuse: a folder of earlier reports,
    of models with the same files, too, whatever code measured them. memory: start a process per
    codec to see its peak."""
    reports: dict[str, dict[str, Any]] = {}
    for name, coder in coders.items():
        if reuse is not None:
            reports |= _earlier(reuse / f"{name}.json", coder, photos, panel)
    total = sum(len(coder.points) for name, coder in coders.items() if name not in reports)
    with tqdm(total=total * len(photos), unit="file", desc="measure") as progress:
        for name, coder in coders.items():
            if name not in reports:
                progress.set_postfix_str(name)
                report = measure_coder(coder, photos, panel, out / "cache", progress.update)
                middle, pixels = coder.points[len(coder.points) // 2], photos[0].pixels()
                if memory:
                    report["peak_memory"] = peak_memory(openers[name], pixels, middle)
                if isinstance(coder, ModelCoder):
                    report["cost"] = coder.cost(pixels, middle)
                reports[name] = report | {"protocol": PROTOCOL} | provenance()
            write_json(out / f"{name}.json", reports[name])
    return {name: reports[name] for name in coders}


def _earlier(
    path: Path, coder: Coder, photos: Sequence[Photo], panel: Panel
) -> dict[str, dict[str, Any]]:
    """{codec: report} of an earlier run, if it can be used as it is."""
    if not path.is_file():
        return {}
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    reason = why_not_reusable(report, coder, photos, panel)
    if reason is not None:
        print(f"{path} is not reused: {reason}", file=sys.stderr)
        return {}
    return {coder.name: report}


def summarise(
    reports: Mapping[str, Mapping[str, Any]],
    folders: Mapping[str, Path],
    photos: Sequence[Photo],
    anchors: Sequence[str],
    out: Path,
) -> None:
    """Print the tables; write summary.json and curves.png. Metrics that a model of `folders` was
    trained on come last and are marked."""
    tabled = {**reports, **as_compressed(reports, folders)}
    published = published_for([photo.name for photo in photos])
    training = {name: trained_on(folder) for name, folder in folders.items()}
    names = measured([point for report in reports.values() for point in report["points"]])
    names = independent_first(names, training)
    panels = {}
    for metric in names:
        lines = [
            Line(name, curve(report, metric), "ours" if name in folders else "measured")
            for name, report in reports.items()
        ]
        others = [item for item in published if metric in item.points]
        lines += [Line(item.name, item.points[metric], "published") for item in others]
        panels[metric_label(metric, training)] = lines
    save_rd_curves(out / "curves.png", panels)
    summary = {
        "images": {"count": len(photos), "names": [photo.name for photo in photos]},
        "bd_rate_percent_against": {
            anchor: bd_rates(tabled, published, anchor) for anchor in anchors
        },
        "trained_on": training,
        "published": [asdict(item) for item in published],
        "cost": {name: reports[name].get("cost") for name in folders},
        "protocol": PROTOCOL,
    }
    write_json(out / "summary.json", summary | provenance())
    for metric in names:
        print(f"\n{metric_label(metric, training)}")
        print(format_bd_table(tabled, metric, anchors, published))
