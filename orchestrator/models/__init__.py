"""Models: feature maps, ansätze, observables and heads, put together over one parametrised circuit."""
