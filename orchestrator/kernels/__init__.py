"""Quantum kernels: how alike two samples are, measured between the states that a feature map makes of them."""
