"""One self-contained page of cards side by side: no file beside it, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ldm_ae.files import replacing
from ldm_ae.metrics.table import METRICS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .8rem; text-align: right }
th:first-child { text-align: left } tr { border-bottom: 1px solid #ddd }
.row { display: flex; flex-wrap: wrap; gap: 1rem } .row > div { max-width: 100% }
.strip { display: flex; gap: 2px; flex-wrap: wrap } .strip img { max-height: 10rem }
.slider { position: relative; display: inline-block } .slider img { display: block }
.slider .over { position: absolute; left: 0; top: 0; clip-path: inset(0 0 0 50%) }
.slider input { width: 100%; margin: 0 } small { color: #666 }
"""
# The reconstruction is cut off at the left of the handle.
SCRIPT = """
for (const slider of document.querySelectorAll('.slider')) {
  const over = slider.querySelector('.over'), handle = slider.querySelector('input');
  handle.addEventListener('input', () => {
    over.style.clipPath = `inset(0 0 0 ${handle.value}%)`;
  });
}
"""
SECTIONS = {
    "latents": "Latents as colours: their first three principal components",
    "interpolation": "Between the latents of two photos",
    "chance": "What chance decodes to: N(0, I), or codes as often as they are used",
    "channels": "Channels",
    "spectrum": "Spectrum",
    "correlation": "Correlation between channels",
    "codebook": "Use of the codebook",
}


def write_page(path: Path, cards: Mapping[str, Mapping[str, Any]], folders: Path) -> None:
    """cards: what `inspect` returned, by model; its pictures lie in folders / model."""
    title = "Latent card: " + ", ".join(cards)
    parts = [f"<h1>{html.escape(title)}</h1>", _table(cards), "<h2>Reconstruction</h2>"]
    parts.append("<p>Move the handle: the original on its left, what the model makes on its right.")
    parts.append(_row({name: _sliders(folders / name, card) for name, card in cards.items()}))
    for what, heading in SECTIONS.items():
        shown = {
            name: _strip(folders / name, card["pictures"][what])
            for name, card in cards.items()
            if what in card["pictures"]
        }
        if shown:
            parts += [f"<h2>{html.escape(heading)}</h2>", _row(shown)]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )
    with replacing(path) as aside:
        aside.write_text(page, encoding="utf-8")


def facts(card: Mapping[str, Any]) -> dict[str, str]:
    """The rows of the table, by their heading."""
    statistics, scores = card["statistics"], card["scores"]
    found = {
        "kind": card["title"],
        "parameters": f"{card['num_parameters']:,}",
        "downsampling": f"{card['downsampling_factor']}",
        "latent channels": f"{card['latent_channels']}",
        "channels in use": f"{statistics['active_channels']}",
        "scaling factor": f"{card['scaling_factor']:.4f}",
        "scaling factor measured here": f"{statistics['scaling_factor']:.4f}",
        "scaled mean, least to greatest": _span(card["scaled_mean"]),
        "scaled deviation, least to greatest": _span(card["scaled_std"]),
        "KL(latents || N(0, I)), nats a value": f"{card['nats_from_normal']:.3f}",
        "greatest correlation of two channels": f"{card['greatest_correlation']:.2f}",
        "slope of the spectrum": f"{card['spectral_slope']:.2f}",
        "variance above 1/4 cycle a latent": f"{card['share_above_quarter']:.1%}",
    }
    if statistics["kl_nats"] is not None:
        mean = sum(statistics["kl_nats"]) / len(statistics["kl_nats"])
        found["KL(posterior || N(0, 1)), nats a value"] = f"{mean:.2f}"
    if statistics["codebook"] is not None:
        found["codes in use"] = f"{statistics['codebook']['share']:.1%}"
        found["perplexity"] = f"{statistics['codebook']['perplexity']:.0f}"
    for transform, values in card["equivariance"].items():
        found[f"{transform}: error of latents"] = f"{values['latent_error']:.2f}"
        through, itself = values["psnr_through_latents"], values["psnr_itself"]
        found[f"{transform}: PSNR through latents, of itself"] = f"{through:.1f}, {itself:.1f} dB"
    for name, metric in METRICS.items():
        if scores.get(name) is not None:
            found[metric.label] = format(scores[name], metric.format)
    found["images"] = str(statistics["num_images"])
    return found


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _table(cards: Mapping[str, Mapping[str, Any]]) -> str:
    columns = {name: facts(card) for name, card in cards.items()}
    headings = list(dict.fromkeys(row for column in columns.values() for row in column))
    lines = ["<tr><th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in cards) + "</tr>"]
    for heading in headings:
        cells = "".join(
            f"<td>{html.escape(column.get(heading, ''))}</td>" for column in columns.values()
        )
        lines.append(f"<tr><th>{html.escape(heading)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _row(blocks: Mapping[str, str]) -> str:
    inner = (f"<div><h3>{html.escape(name)}</h3>{block}</div>" for name, block in blocks.items())
    return f'<div class="row">{"".join(inner)}</div>'


def _sliders(folder: Path, card: Mapping[str, Any]) -> str:
    pictures = card["pictures"]
    pairs = zip(pictures["original"], pictures["reconstruction"], strict=True)
    return "".join(
        f'<div class="slider">{_image(folder / original, "original")}'
        f"{_image(folder / rebuilt, 'reconstruction', 'over')}"
        '<input type="range" min="0" max="100" value="50" aria-label="original | reconstruction">'
        "</div> "
        for original, rebuilt in pairs
    )


def _strip(folder: Path, names: Sequence[str]) -> str:
    return f'<div class="strip">{"".join(_image(folder / name, name) for name in names)}</div>'


def _image(path: Path, text: str, kind: str = "") -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img class="{kind}" alt="{html.escape(text)}" src="data:image/png;base64,{data}">'
