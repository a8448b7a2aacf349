"""Model: one parametrised circuit, its angle map, its observables and a head, as the rest of qfleet sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cirq
import numpy as np
import sympy

from orchestrator.circuits.from_cirq import template_from_circuit
from orchestrator.circuits.light_cone import felt_angles
from orchestrator.circuits.measured import MeasuredCircuit
from orchestrator.circuits.template import CircuitTemplate
from orchestrator.config import ModelConfig
from orchestrator.errors import CircuitError, InputError
from orchestrator.models.angle_map import AngleMap, Angles, Slopes
from orchestrator.models.blocks import blocks_of
from orchestrator.models.feature_maps.transform import FeatureTransform
from orchestrator.models.heads import Head, scores_per_class
from orchestrator.models.observables import Readout, readout
from orchestrator.models.patches import Patches
from orchestrator.models.selection import ParamNames
from orchestrator.registry import import_path, resolve


@dataclass(frozen=True, eq=False)
class Model:
    """A variational quantum model.

    The parameter vector is the circuit's parameters followed by the head's. Make one with `from_config` or, for a circuit of your
    own, with `from_circuit`.

    Attributes:
        template: the circuit, one angle per gate.
        angle_map: parameters and features -> angles.
        readout: Pauli strings -> observables.
        head: observables -> outputs.
        circuit_param_names: names of the circuit's parameters.
        head_name, output_scale: how the head was made.
        frozen: bool [P]: parameters that stay as they are.
        initial_scale: standard deviation of the initial circuit parameters, radians.
        transform: the classical step of the feature map in front of the angle map, if it has one.
        layers: where each layer's circuit parameters begin, and the end of the last; empty where there are no layers.
        patches: what part of a sample the circuit sees at a time; with P of them a sample is P states of the circuit, and the head takes
            the observables of them all. None: all of it, and P is 1. In shapes N is S P, the states of S samples.
    """

    template: CircuitTemplate
    angle_map: AngleMap
    readout: Readout
    head: Head
    head_name: str
    output_scale: float
    circuit_param_names: tuple[str, ...]
    frozen: np.ndarray
    initial_scale: float
    transform: FeatureTransform | None = None
    layers: tuple[int, ...] = ()
    patches: Patches | None = None

    @classmethod
    def from_circuit(
        cls,
        circuit: cirq.Circuit,
        *,
        features: Sequence[sympy.Symbol | str],
        observables: str | Sequence[Any] = "each",
        params: Sequence[sympy.Symbol | str] | None = None,
        head: str = "none",
        n_outputs: int | Callable[[int], int] | None = 1,
        output_scale: float = 1.0,
        initial_scale: float = 0.1,
        frozen: Sequence[int | str] = (),
        layers: Sequence[int] = (),
        qubit_order: Sequence[cirq.Qid] | None = None,
        places: Sequence[int] | None = None,
        patches: Patches | None = None,
    ) -> Model:
        """A model of any cirq circuit with sympy symbols.

        Args:
            features: the symbols that stand for the columns of the data, in order.
            params: the trainable symbols, in order; all that are not features, in natural order, if absent.
            observables: a preset, texts such as ``"Z0*Z1"``, or cirq Pauli strings and sums.
            head: ``"linear"`` (trainable) or ``"none"``.
            n_outputs: 1 for binary and regression losses, the number of classes for a multi-class one; or a function that says how many,
                given the scores of each class that the head has (`heads.scores_per_class`); None: one for each observable.
            frozen: parameters that are not trained, by number or as `ParamNames.select` takes them.
            layers: where each layer's parameters begin, and the end of the last; so that layers can be named.
            qubit_order: which qubit is number 0, 1, ...
            places: the qubits that are left to be measured; all if absent.
            patches: the part of a sample that the circuit sees at a time; `features` are then of one patch.

        Raises:
            CircuitError: circuit, expression or observable is refused; the text says which.
        """
        feature_symbols = [sympy.Symbol(str(f)) for f in features]
        if params is None:
            rest = {sympy.Symbol(name) for name in cirq.parameter_names(circuit)} - set(feature_symbols)
            param_symbols = sorted(rest, key=_natural)
        else:
            param_symbols = [sympy.Symbol(str(p)) for p in params]
        listed = [*param_symbols, *feature_symbols]
        if len(set(listed)) != len(listed):
            twice = next(symbol for symbol in listed if listed.count(symbol) > 1)
            raise CircuitError(f"the symbol {twice} is listed twice among parameters and features")
        try:
            qubits = cirq.QubitOrder.as_qubit_order(qubit_order or cirq.QubitOrder.DEFAULT).order_for(
                circuit.all_qubits()
            )
        except ValueError as error:
            raise CircuitError(f"qubit_order does not hold every qubit of the circuit: {error}") from None
        template, expressions = template_from_circuit(circuit, qubits)
        angle_map = AngleMap.from_expressions(expressions, param_symbols, feature_symbols)
        read = readout(observables, template.n_qubits, qubits, places)
        n_observables = len(read.names) * (1 if patches is None else patches.count)
        make_head = resolve("head", head)
        if n_outputs is None:
            n_outputs = n_observables
        elif not isinstance(n_outputs, int):
            n_outputs = n_outputs(scores_per_class(make_head, n_observables))
        built = make_head(n_observables, n_outputs, output_scale)
        names = tuple(str(p) for p in param_symbols)
        known = ParamNames(names, tuple(layers), built.n_params)
        mask = np.zeros(len(known.all), bool)
        mask[known.select("model.frozen", frozen)] = True
        return cls(
            template=template,
            angle_map=angle_map,
            readout=read,
            head=built,
            head_name=head,
            output_scale=output_scale,
            circuit_param_names=names,
            frozen=mask,
            initial_scale=initial_scale,
            layers=tuple(layers),
            patches=patches,
        )

    @classmethod
    def from_config(cls, config: ModelConfig, n_outputs: int | Callable[[int], int] | None = 1) -> Model:
        """The model that a configuration describes; `n_outputs` as for `from_circuit`, a circuit of the user's own has its own.

        Raises:
            InputError: an impossible combination, or `config.circuit` does not give a Model.
        """
        if config.circuit is not None:
            make = import_path(config.circuit)
            try:
                made = make()
            except InputError:
                raise
            except Exception as error:  # whatever a user's function raises
                raise InputError(
                    f"model.circuit = {config.circuit!r} failed: {type(error).__name__}: {error}"
                ) from error
            if not isinstance(made, Model):
                raise InputError(
                    f"model.circuit = {config.circuit!r} returned {type(made).__name__}, not an orchestrator.Model"
                )
            return made.with_frozen(config.frozen) if config.frozen else made
        blocks = blocks_of(config)
        model = cls.from_circuit(
            blocks.circuit,
            params=blocks.params,
            features=blocks.inputs,
            observables=config.observables,
            head=config.head,
            n_outputs=n_outputs,
            output_scale=config.output_scale,
            initial_scale=config.initial_scale,
            frozen=config.frozen,
            layers=blocks.layers,
            places=blocks.places,
            patches=blocks.patches,
        )
        return replace(model, transform=blocks.transform)

    @cached_property
    def measured(self) -> MeasuredCircuit:
        """What actors compile and run."""
        return MeasuredCircuit(self.template, self.readout.paulis)

    @property
    def n_features(self) -> int:
        """F, the columns that `angles` takes."""
        if self.patches is not None:
            return self.patches.n_features
        return self.angle_map.n_features if self.transform is None else self.transform.n_features

    @property
    def states_per_sample(self) -> int:
        """P: states of the circuit that a sample takes, one for each patch."""
        return 1 if self.patches is None else self.patches.count

    @property
    def n_outputs(self) -> int:
        """C, the outputs for each sample."""
        return self.head.n_outputs

    @property
    def scores_per_class(self) -> int:
        """Outputs of each class that a loss may ask for, see `heads.scores_per_class`."""
        return scores_per_class(self.head, self.states_per_sample * len(self.readout.names))

    @property
    def n_circuit_params(self) -> int:
        """Parameters of the circuit."""
        return self.angle_map.n_params

    @property
    def n_params(self) -> int:
        """P: the circuit's parameters and the head's."""
        return self.n_circuit_params + self.head.n_params

    @cached_property
    def differentiated_angles(self) -> np.ndarray:
        """int64: the angles whose derivative a gradient needs: none for frozen parameters, none that no observable feels."""
        return self.felt(self.angles_moved_by(~self.frozen[: self.n_circuit_params]))

    @cached_property
    def feature_angles(self) -> np.ndarray:
        """int64: the angles whose derivative a gradient by the features needs: those that features move and some observable feels."""
        return self.felt(self._felt_by_states(self.angle_map.data_columns))

    @cached_property
    def trainable(self) -> np.ndarray:
        """bool [P_circuit]: circuit parameters that are not frozen and move some angle that an observable feels."""
        mask = np.zeros(self.n_circuit_params, bool)
        param, angle = self.angle_map.pairs
        mask[param[np.isin(angle, self.differentiated_angles)]] = True
        return mask & ~self.frozen[: self.n_circuit_params]

    def felt(self, angles: np.ndarray) -> np.ndarray:
        """int64: those of `angles` that may move some observable; by all others every derivative is zero, which structure proves."""
        return angles[self._is_felt[angles]]

    @cached_property
    def _is_felt(self) -> np.ndarray:
        return felt_angles(self.measured)

    def angles_moved_by(self, mask: np.ndarray) -> np.ndarray:
        """int64: the angles, felt by some state, that a circuit parameter of the bool mask [P_circuit] moves."""
        return self._felt_by_states(self.angle_map.moved_by(mask))

    def _felt_by_states(self, angles: np.ndarray) -> np.ndarray:
        """int64: those of `angles` whose gate is not the identity up to a phase."""
        felt = [k for k in angles if self.template.gate_of_angle[k].frequencies]
        return np.array(felt, np.int64)

    @property
    def param_names(self) -> ParamNames:
        """What the parameters can be called."""
        return ParamNames(self.circuit_param_names, self.layers, self.head.n_params)

    def with_frozen(self, entries: Sequence[int | str]) -> Model:
        """A copy in which exactly these parameters are frozen; see `ParamNames.select`."""
        mask = np.zeros(self.n_params, bool)
        mask[self.param_names.select("model.frozen", entries)] = True
        return replace(self, frozen=mask)

    def initial_params(self, seed: int) -> np.ndarray:
        """float64 [P]: circuit parameters normal with `initial_scale`, the head as it likes; the same for the same seed."""
        rng = np.random.Generator(np.random.Philox(key=seed))
        circuit = rng.normal(0.0, 1.0, self.n_circuit_params) * self.initial_scale
        return np.concatenate([circuit, self.head.initial(rng)])

    def angles(self, params: np.ndarray, features: np.ndarray) -> Angles:
        """Gate angles of N states for params [P] and features [S, F]."""
        return self.angle_map.angles(params[: self.n_circuit_params], self.inputs(features))

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """What the angle map takes, [N, F'], from features [S, F]: themselves, where there are no patches and the feature map has no
        classical step.

        Raises:
            DataError: the feature map cannot encode a row.
        """
        seen = features if self.patches is None else self.patches(features)
        return seen if self.transform is None else self.transform(seen)

    def slopes(self, features: np.ndarray) -> Slopes:
        """d angle / d circuit parameter at features [S, F]."""
        return self.angle_map.slopes(self.inputs(features))

    def outputs(self, params: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Outputs [S, C] from expectation values [N, M_p] of the Pauli strings."""
        return self.head.forward(params[self.n_circuit_params :], self._observables(values))

    def gradient(
        self,
        params: np.ndarray,
        features: np.ndarray,
        values: np.ndarray,
        jacobian: np.ndarray,
        output_gradient: np.ndarray,
    ) -> np.ndarray:
        """Chain rule from the loss to the parameters.

        Args:
            features: [S, F]; values: [N, M_p]; jacobian: [N, M_p, Kj] by `differentiated_angles`;
            output_gradient: dL/d outputs [S, C].

        Returns:
            dL/d params [P], zero for frozen ones.
        """
        of_values, of_head = self.backward(params, values, output_gradient)
        return self.pullback(features, np.einsum("sp,spk->sk", of_values, jacobian), of_head.sum(axis=0))

    def backward(
        self, params: np.ndarray, values: np.ndarray, output_gradient: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From dL/d outputs [S, C]: dL/d expectation values [N, M_p], and what each sample adds to dL/d head parameters, [S, P_head]."""
        head_params = params[self.n_circuit_params :]
        of_observables, of_head = self.head.backward(head_params, self._observables(values), output_gradient)
        of_states = of_observables.reshape(len(values), -1)
        return np.einsum("sm,mp->sp", of_states, self.readout.matrix), of_head

    def pullback(
        self,
        features: np.ndarray,
        of_angles: np.ndarray,
        of_head: np.ndarray,
        wanted: np.ndarray | None = None,
    ) -> np.ndarray:
        """dL/d params [P], zero for frozen ones, from dL/d angles `wanted` (`differentiated_angles` if absent) [N, Kj] and dL/d head
        parameters [P_head]."""
        of_all = np.zeros((len(of_angles), self.template.n_angles))
        of_all[:, self.differentiated_angles if wanted is None else wanted] = of_angles
        gradient = np.concatenate([self.angle_map.pullback(of_all, self.inputs(features)), of_head])
        return np.where(self.frozen, 0.0, gradient)

    def check_feature_gradients(self) -> None:
        """Refuse derivatives by the features where there are none.

        Raises:
            CapabilityError: the feature map's classical step has none.
        """
        if self.transform is not None:
            self.transform.check_differentiable()

    def pullback_features(
        self, params: np.ndarray, features: np.ndarray, of_angles: np.ndarray, wanted: np.ndarray
    ) -> np.ndarray:
        """dL/d features [S, F], from dL/d angles `wanted` [N, Kj], which hold `feature_angles`.

        Raises:
            CapabilityError: see `check_feature_gradients`.
        """
        of_all = np.zeros((len(of_angles), self.template.n_angles))
        of_all[:, wanted] = of_angles
        seen = features if self.patches is None else self.patches(features)
        inputs = seen if self.transform is None else self.transform(seen)
        found = self.angle_map.pullback_features(of_all, params[: self.n_circuit_params], inputs)
        if self.transform is not None:
            found = self.transform.pullback(seen, found)
        return found if self.patches is None else self.patches.pullback(found)

    def _observables(self, values: np.ndarray) -> np.ndarray:
        """[S, P M], those of a sample's first state first."""
        found = np.einsum("sp,mp->sm", values, self.readout.matrix) + self.readout.offset
        return found.reshape(-1, self.states_per_sample * found.shape[1])


def _natural(symbol: sympy.Symbol) -> tuple[Any, ...]:
    """Sort key that puts p2 before p10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", symbol.name))
