"""Plots of a latent space's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ldm_ae.files import replacing


def spectrum_figure(spectra: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """By model: frequencies in cycles a latent, and power there; both axes logarithmic."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, (frequencies, powers) in spectra.items():
        axes.loglog(frequencies, powers, marker=".", label=name)
    axes.set_xlabel("cycles a latent")
    axes.set_ylabel("power of scaled latents")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)
    return figure


def correlation_figure(correlations: Sequence[Sequence[float]]) -> Figure:
    """Between channels, -1 blue to 1 red."""
    figure = Figure(figsize=(4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(correlations, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xlabel("channel")
    axes.set_ylabel("channel")
    figure.colorbar(image, ax=axes, label="correlation")
    return figure


def channels_figure(
    means: Sequence[float], deviations: Sequence[float], kl_nats: Sequence[float] | None
) -> Figure:
    """Mean and deviation of each scaled channel, and its KL where there is one."""
    panels = 1 if kl_nats is None else 2
    figure = Figure(figsize=(4.5 * panels, 3.6), layout="constrained")
    axes = figure.add_subplot(1, panels, 1)
    channels = range(len(means))
    axes.errorbar(channels, means, yerr=deviations, fmt="o", capsize=3)
    axes.axhspan(-1, 1, alpha=0.1, label="N(0, 1)")
    axes.set_xlabel("channel")
    axes.set_ylabel("mean and deviation, scaled")
    axes.legend(fontsize=7)
    if kl_nats is not None:
        axes = figure.add_subplot(1, panels, 2)
        axes.bar(list(channels), list(kl_nats))
        axes.set_xlabel("channel")
        axes.set_ylabel("KL, nats a value")
    return figure


def codebook_figure(counts: Sequence[float]) -> Figure:
    """How often each code is used, most used first."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shares = sorted((count / max(sum(counts), 1) for count in counts), reverse=True)
    axes.semilogy(range(1, len(shares) + 1), [max(share, 1e-9) for share in shares])
    axes.axhline(1 / len(shares), linestyle="--", linewidth=0.8, label="all alike")
    axes.set_xlabel("code, most used first")
    axes.set_ylabel("share of the tokens")
    axes.legend(fontsize=7)
    return figure


def save_figure(path: Path, figure: Figure) -> None:
    """As a PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    with replacing(path) as aside:
        figure.savefig(aside, format="png", dpi=100)
