"""Layers for PyTorch: a circuit as a module among others (layer.py), slid over images (convolution.py), or handing on fewer numbers
(pooling.py). What torch differentiates is in function.py, the mathematics in `orchestrator.gradients.function`."""
