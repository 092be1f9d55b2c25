"""Updates of a network by d3rlpy, from given weights."""

import d3rlpy
import numpy as np
import torch
from d3rlpy.torch_utility import TorchMiniBatch

from deeptrade.trading.conservative import Transitions
from deeptrade.trading.learner import LEARNING_RATE
from deeptrade.trading.values import HIDDEN

_EPSILON, _BETA = 1e-7, 0.999
"""Of Keras's Adam. It adds epsilon before the correction of the second moment, PyTorch after it."""


def updated_by_d3rlpy(batches: list[Transitions], learning, judging, *, gamma, alpha):
    """Return the weights after a step of DoubleDQN with each batch, or of DiscreteCQL where alpha is above 0.

    learning, judging: kernel (inputs, outputs) and bias (1, outputs) of each layer in turn.
    """
    options = {
        "learning_rate": LEARNING_RATE,
        "gamma": gamma,
        "encoder_factory": d3rlpy.models.VectorEncoderFactory(hidden_units=list(HIDDEN)),
        "target_update_interval": 10**6,
    }
    algorithms = d3rlpy.algos
    config = algorithms.DiscreteCQLConfig(alpha=alpha, **options) if alpha else algorithms.DoubleDQNConfig(**options)
    algorithm = config.create(device="cpu")
    algorithm.create_impl(batches[0].states.shape[1:], learning[-1].shape[-1])
    modules = algorithm.impl.modules
    _set(modules.q_funcs, learning)
    _set(modules.targ_q_funcs, judging)
    for step, batch in enumerate(batches, start=1):
        for group in algorithm.impl.q_function_optim.param_groups:
            group["eps"] = _EPSILON / np.sqrt(1 - _BETA**step)
        algorithm.impl.inner_update(_batch(batch), grad_step=step)
    tensors = [tensor.detach().numpy() for tensor in modules.q_funcs.parameters()]
    return [tensor[None] if tensor.ndim == 1 else tensor.T for tensor in tensors]


def _set(module, weights):
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(weight[0] if parameter.ndim == 1 else weight.T))


def _batch(batch: Transitions):
    def column(values):
        return torch.tensor(np.asarray(values, np.float32).reshape(-1, 1))

    return TorchMiniBatch(
        observations=torch.tensor(batch.states),
        actions=column(batch.actions),
        rewards=column(batch.rewards),
        next_observations=torch.tensor(batch.following),
        next_actions=column(batch.actions),
        returns_to_go=column(batch.rewards),
        terminals=column(1 - batch.bootstraps),
        intervals=column(np.ones(len(batch))),
        device="cpu",
    )
