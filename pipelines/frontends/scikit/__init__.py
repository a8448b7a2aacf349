"""scikit-learn estimators: `QuantumClassifier`, `QuantumRegressor`, `QuantumKernelClassifier`, `QuantumAutoencoder`.

`base` is what all of them share, `variational` what is trained by the training loop, `settings` how constructor parameters become a
configuration, `columns` how rows become features of a circuit of any size, `running` where circuits run, `money` what they cost,
`persistence` files.
"""
