"""The multiscale forecaster in PyTorch, a process of its own for step_time.py: the same network, the same weights.

A step is what a user of PyTorch would write: forward, Huber loss over the valid targets, backward, clip_grad_norm_,
fused Adam. Unlike ours it keeps no float64 sums over passes, no average of the weights, and does not look whether a
gradient is finite. TensorFlow and PyTorch do not share a process: both bring LLVM along.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from torch.nn import functional

from deeptrade.planning.sizes import ATTENTION_HEADS, SCALES, SEGMENT_STEPS, SIZES, count_patches, equal_shapes
from deeptrade.sources.schema import Feature, Schema


class Peer:
    """The network of a Keras forecaster, with its weights copied by path, and a training step."""

    def __init__(self, schema: Schema, model_size: str, given: dict[str, np.ndarray], *, compiled: bool, threads: int):
        averages = [value for path, value in given.items() if path.startswith("averages of ")]
        weights = {path: value for path, value in given.items() if "/" in path}
        torch.set_num_threads(threads)
        self.schema, (self.units, self.blocks) = schema, SIZES[model_size]
        self.constants = {path: torch.tensor(value) for path, value in weights.items() if "_normalization/" in path}
        trained = {path: value for path, value in weights.items() if "_normalization/" not in path}
        self.weights = {path: torch.nn.Parameter(torch.tensor(value)) for path, value in trained.items()}
        # Keras adds epsilon before the bias correction: in the first step its 1e-7 is this here.
        epsilon = 1e-7 / (1 - 0.999) ** 0.5
        self.optimizer = torch.optim.Adam(list(self.weights.values()), 1e-3, eps=epsilon, fused=True)
        self.groups = equal_shapes(schema)
        self.averages = {len(one[0]): torch.tensor(one) for one in averages}
        self.loss = torch.compile(self._loss) if compiled else self._loss

    def step(self, x: dict[str, np.ndarray], y: np.ndarray) -> float:
        """Take one optimizer step and return the loss."""
        loss = self.loss({name: torch.from_numpy(values) for name, values in x.items()}, torch.from_numpy(y))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _loss(self, x: dict[str, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        valid = torch.isfinite(y)
        losses = functional.huber_loss(self.forward(x), torch.where(valid, y, 0.0), reduction="none")
        return torch.where(valid, losses, 0.0).sum() / valid.sum()

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the forecasts (rows, horizons) in units of the target scale, which is 1."""
        tokens = []
        for number, members in enumerate(self.groups):
            features = [self.schema.features[at] for at in members]
            stacked = torch.stack([x[feature.name] for feature in features])
            encode = self._sequences if features[0].is_sequence else self._vectors
            tokens.append(encode(f"features_{number}", stacked))
        return self._heads(self._attend(torch.cat(tokens).transpose(0, 1)))

    def _standard(self, name: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = (self.constants[f"{name}_normalization/{one}"] for one in ("mean", "std"))
        x = torch.where(torch.isfinite(x), x, mean)
        return x, ((x - mean) / std).clamp(-10, 10)

    def _dense(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.weights[f"{name}_bias"], x, self.weights[f"{name}_kernel"])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        x = functional.layer_norm(x, x.shape[-1:], eps=1e-3)
        return x * self.weights[f"{name}_gain"] + self.weights[f"{name}_offset"]

    def _vectors(self, name: str, x: torch.Tensor) -> torch.Tensor:
        _, x = self._standard(name, x)
        return self._dense(f"{name}/token", functional.gelu(self._dense(f"{name}/hidden", x)))

    def _sequences(self, name: str, x: torch.Tensor) -> torch.Tensor:
        filled, standard = self._standard(name, x)
        scale = filled.abs().mean(2, keepdim=True)
        scale = torch.where(scale > 0, scale, 1.0) * self.constants[f"{name}_normalization/relative_std"]
        relative = torch.nan_to_num((filled - filled[:, :, -1:]) / scale, nan=0.0).clamp(-10, 10)
        x = torch.cat([standard, relative], dim=-1)
        features, _, steps, channels = x.shape
        patches = count_patches(steps)
        x = functional.pad(x, (0, 0, (patches + 1) * SEGMENT_STEPS - steps, 0))
        x = torch.bmm(x.reshape(features, -1, SEGMENT_STEPS * channels), self.weights[f"{name}/patch_kernel"])
        x = x.view(features, -1, patches + 1, 2 * self.units)
        x = (x[:, :, :-1, : self.units] + x[:, :, 1:, self.units :]).reshape(features, -1, self.units)
        x = functional.gelu(x + self.weights[f"{name}/patch_bias"])
        for block in range(1, self.blocks):
            path = f"{name}/block_{block}"
            x = x + functional.gelu(self._dense(path, self._norm(f"{path}_norm", x)))
        x = torch.matmul(self.averages[patches], x.view(-1, patches, self.units))
        x = self._norm(f"{name}/norm", x.view(features, -1, SCALES * self.units))
        return self._dense(f"{name}/token", functional.gelu(self._dense(f"{name}/hidden", x)))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = x.shape

        def head(name: str) -> torch.Tensor:
            kernel = self.weights[f"attention/{name}/kernel"].reshape(width, width)
            y = x @ kernel + self.weights[f"attention/{name}/bias"].reshape(width)
            return y.view(rows, tokens, ATTENTION_HEADS, -1).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(head("query"), head("key"), head("value"))
        kernel = self.weights["attention/attention_output/kernel"].reshape(width, width)
        mixed = mixed.transpose(1, 2).reshape(rows, tokens, width) @ kernel
        x = x + mixed + self.weights["attention/attention_output/bias"]
        gamma, beta = self.weights["attention_norm/gamma"], self.weights["attention_norm/beta"]
        return functional.layer_norm(x, (width,), gamma, beta, 1e-3).mean(1)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.gelu(x @ self.weights["trunk/kernel"] + self.weights["trunk/bias"])
        hidden = self.weights["head_hidden/kernel"]
        x = x @ hidden.reshape(hidden.shape[0], -1) + self.weights["head_hidden/bias"].reshape(-1)
        x = functional.gelu(x).view(-1, *hidden.shape[1:])
        return (x * self.weights["head/kernel"]).sum(-1) + self.weights["head/bias"]


def schema_of(given: dict[str, np.ndarray]) -> Schema:
    """Return the schema of the inputs and targets in a file of starting weights."""
    inputs = {name.removeprefix("input "): value for name, value in given.items() if name.startswith("input ")}
    return Schema(tuple(Feature(name, one.shape[1:]) for name, one in inputs.items()), given["targets"].shape[1])


def main() -> None:
    """Answer each line of input: 'step' with the seconds it took, 'weights' with a file of all weights."""
    path, model_size, kind, threads = sys.argv[1:]
    with np.load(path) as archive:
        given = dict(archive)
    arrays = {name.removeprefix("input "): value for name, value in given.items() if name.startswith("input ")}
    targets = given["targets"]
    peer = Peer(schema_of(given), model_size, given, compiled=kind == "compiled", threads=int(threads))
    for line in sys.stdin:
        began = time.perf_counter()
        if line.strip() == "step":
            peer.step(arrays, targets)
        else:
            np.savez(f"{path}.{kind}.npz", **{name: one.detach().numpy() for name, one in peer.weights.items()})
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
