"""Pictures of a run: training curves, fleet timeline, latency, circuit, confusion matrix, predictions.

Every function takes plain figures, writes one file (PNG, SVG or PDF, by its suffix) and returns the matplotlib Figure. Figures are
made without pyplot, so nothing global changes and any thread may draw. Colours are those of Okabe and Ito, told apart by everybody.
Importing this costs little: matplotlib and cirq come with the first picture that needs them.
"""

from pipelines.plots.circuit import circuit_diagram
from pipelines.plots.gates import DrawnGate, circuit_text, drawn_gates, labelled_circuit
from pipelines.plots.latency import latency
from pipelines.plots.reconstruction import fidelities, reconstructed_images
from pipelines.plots.reliability import reliability
from pipelines.plots.scores import confusion_matrix, predictions, residuals
from pipelines.plots.timeline import fleet_timeline, timeline_figure
from pipelines.plots.training import training_curves

__all__ = [
    "DrawnGate",
    "circuit_diagram",
    "circuit_text",
    "confusion_matrix",
    "drawn_gates",
    "fidelities",
    "fleet_timeline",
    "labelled_circuit",
    "latency",
    "predictions",
    "reconstructed_images",
    "reliability",
    "residuals",
    "timeline_figure",
    "training_curves",
]
