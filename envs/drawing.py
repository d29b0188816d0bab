"""A picture of a network: a bar for each layer, as high as the layer is wide."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eas_tf.architecture import Architecture

_COLOURS = {"features": "#4c78a8", "pooling": "#bab0ac", "vectors": "#f58518", "classifier": "#54a24b"}


def draw(architecture: Architecture) -> np.ndarray:
    """Bars over a logarithmic axis of channels, labelled in the paper's notation: uint8 `[300, 900, 3]`."""
    figure = Figure(figsize=(9, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(architecture.layers))
    channels = [shape[-1] for shape in architecture.shapes]
    axes.bar(places, channels, color=[_COLOURS[layer.role] for layer in architecture.layers])
    axes.set_xticks(places, [str(layer) for layer in architecture.layers], rotation=90, fontsize=7)
    axes.set_yscale("log", base=2)
    axes.set_ylim(1, 2048)
    axes.set_ylabel("channels")
    axes.set_title(f"{architecture.parameter_count:,} parameters", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
