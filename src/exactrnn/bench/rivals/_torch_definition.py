"""A cell from its equations in plain torch: the step that its user would write.

The equations are written out as Python source, a line for each operation, and compiled
once, so that the loop pays for nothing but torch. Each product with one operand is one
product of stacked blocks, sums that see x and the state alike are added at once, and
`fma` and `mix` are torch's fused `addcmul` and `lerp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.nn.functional import linear

from exactrnn._graph.form import form_of
from exactrnn._graph.symbols import definition_of
from exactrnn.bench.rivals._torch_steps import Cell, State

WRITTEN = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "lt": "({0} < {1}).to(h.dtype)",
    "le": "({0} <= {1}).to(h.dtype)",
    "eq": "({0} == {1}).to(h.dtype)",
    "neg": "-{0}",
    "copy": "{0}",
    "gained": "{0} * {1}",
    "norm": "norm({0}, {1})",
    "stop": "{0}.detach()",
    "softplus": "softplus({0}, threshold=100)",
}
"""What is written in words of its own; the others are functions of torch."""
TENSORS = {"min": "minimum", "max": "maximum", "where": "where"}
FUSED = {"fma": "torch.addcmul({2}, {0}, {1})", "mix": "torch.lerp({2}, {1}, {0})"}
LONG = {"fma": "{0} * {1} + {2}", "mix": "{0} * {1} + (1 - {0}) * {2}"}


class Defined(Cell):
    """A definition's weights and its step."""

    def __init__(self, weights: Mapping[str, Any], options: Mapping[str, Any]):
        self.weights, self.options = weights, options
        self.form = form_of(definition_of(options["cell"]))
        self.W, form = weights["weight_ih"], self.form
        self.H = self.W.shape[0] // len(form.w_names)
        self.blocks: dict[str, Any] = {}
        if "weight_hh" in weights:
            parts = weights["weight_hh"].split(self.H)
            self.blocks = dict(zip(form.r_names, parts, strict=True))
        self.names: dict[str, Any] = {
            "torch": torch,
            "linear": linear,
            "softplus": functional.softplus,
            "by_heads": by_heads,
            "moments": moments,
            "norm": norm,
        }
        source = self.write()
        exec(compile(source, "<step of a definition>", "exec"), self.names)
        self.compiled = self.names["step"]

    def step(self, a: Any, state: State) -> State:
        """Return the state after a step, from its input products and the state."""
        made: State = self.compiled(a, state)
        return made

    def bias_of(self, kind: str, names: list[str]) -> Any:
        """Return the biases of sums, 0 where they have none; None without any."""
        listed = self.form.bias_names[kind == "hh"]
        bias = self.weights.get(f"bias_{kind}")
        if bias is None or not {*names} & {*listed}:
            return None
        parts = dict(zip(listed, bias.split(self.H), strict=True))
        zero = torch.zeros_like(next(iter(parts.values())))
        return torch.cat([parts.get(name, zero) for name in names])

    def project(self, x: Any) -> Any:
        """Return the input products of a sequence, with their bias."""
        return linear(x, self.W, self.bias_of("ih", list(self.form.w_names)))

    def zeros(self, B: int) -> State:
        """Return the state before the first step."""
        states = self.form.definition.states
        return tuple(torch.zeros(B, self.H, dtype=self.W.dtype) for _ in states)

    # The source of a step

    def write(self) -> str:
        """Return the step as source."""
        form = self.form
        states = form.definition.states
        lines = [f"{', '.join(f's{k}' for k in range(len(states)))}, = state"]
        lines += ["h = s0"]
        alike = self.write_inputs(lines)
        made: set[int | None] = {None} if alike else set()
        for number, value in enumerate(form.values):
            if value.kind == "prev":
                lines.append(f"v{number} = s{value.place}")
            elif value.kind == "vector":
                self.names[f"u{number}"] = self.weight_of(value.place)
                lines.append(f"v{number} = u{number}")
            elif value.kind == "sum":
                operand = form.sums[value.place].operand
                if form.sums[value.place].has_r and operand not in made:
                    self.write_products(lines, operand)
                    made.add(operand)
                lines.append(f"v{number} = {self.sum_text(value.place, alike)}")
            elif value.kind != "const":
                lines.append(f"v{number} = {self.text_of(value)}")
        results = [self.argument(n, tensor=True) for n in form.outputs]
        lines.append(f"return {', '.join(results)},")
        return "def step(a, state):\n    " + "\n    ".join(lines) + "\n"

    def weight_of(self, place: int) -> Any:
        """Return a weight of each unit, or a scalar."""
        own = len(self.form.units)
        if place < own:
            return self.weights["weight_unit"][place]
        return self.weights["scalar"][place - own]

    def sums_of(self, operand: int | None) -> list[str]:
        """Return the sums whose R is multiplied with an operand."""
        return [s.name for s in self.form.sums if s.has_r and s.operand == operand]

    def write_inputs(self, lines: list[str]) -> bool:
        """Take the sums apart; returns whether the product with h is in them."""
        form = self.form
        alike = self.sums_of(None) == list(form.w_names)
        if alike:
            self.write_products(lines, None, taken=False)
            lines.append("a = a + r")
        lines.append(f"x = a.chunk({len(form.w_names)}, -1)")
        return alike

    def write_products(
        self, lines: list[str], operand: int | None, *, taken: bool = True
    ) -> None:
        """Multiply an operand with all its blocks at once, and take them apart."""
        names = self.sums_of(operand)
        key = "h" if operand is None else f"v{operand}"
        heads = self.form.num_heads
        R = torch.cat([self.blocks[name] for name in names])
        self.names[f"R_{key}"] = by_head_blocks(R, heads) if heads > 1 else R
        self.names[f"b_{key}"] = self.bias_of("hh", names)
        call = "by_heads" if heads > 1 else "linear"
        lines.append(f"r = {call}({key}, R_{key}, b_{key})")
        if taken:
            parts = ", ".join(f"r_{name}" for name in names)
            lines.append(f"{parts}, = r.chunk({len(names)}, -1)")

    def sum_text(self, place: int, alike: bool) -> str:
        """Return a sum from its products."""
        own = self.form.sums[place]
        w = self.form.w_names.index(own.name) if own.has_w else -1
        if own.has_w and own.has_r and not (alike and own.operand is None):
            return f"x[{w}] + r_{own.name}"
        return f"x[{w}]" if own.has_w else f"r_{own.name}"

    def argument(self, number: int, *, tensor: bool = False) -> str:
        """Return a value as source, a number as a tensor where one is needed."""
        value = self.form.values[number]
        if value.kind != "const":
            return f"v{number}"
        text = repr(value.constant)
        return f"torch.full_like(h, {text})" if tensor else text

    def text_of(self, value: Any) -> str:
        """Return an operation as source."""
        if value.kind == "moments":
            return f"moments({', '.join(self.argument(a) for a in value.inputs)})"
        kinds = [self.form.values[a].kind for a in value.inputs]
        plain = [self.argument(a) for a in value.inputs]
        if value.kind in FUSED:
            form = LONG if "const" in kinds else FUSED
            return form[value.kind].format(*plain)
        if value.kind in WRITTEN and value.kind not in ("stop", "softplus"):
            return WRITTEN[value.kind].format(*plain)
        whole = [self.argument(a, tensor=True) for a in value.inputs]
        if value.kind == "where":
            whole[0] += " != 0"
        if value.kind in WRITTEN:
            return WRITTEN[value.kind].format(*whole)
        return f"torch.{TENSORS.get(value.kind, value.kind)}({', '.join(whole)})"


def moments(*values: Any) -> Any:
    """Return mean and scale of rows, of all these values together."""
    spread, mean = torch.var_mean(torch.cat(values, -1), -1, correction=0, keepdim=True)
    return mean, torch.rsqrt(spread + 1e-5)


def norm(value: Any, found: Any) -> Any:
    """Return a value, normalised."""
    mean, scale = found
    return (value - mean) * scale


def by_head_blocks(R: Any, heads: int) -> Any:
    """Return stacked blocks [G*H, H/n] as one matrix for each head, [n, H/n, G*H/n]."""
    size = R.shape[1]
    return R.reshape(-1, heads, size, size).permute(1, 3, 0, 2).reshape(heads, size, -1)


def by_heads(h: Any, R: Any, bias: Any) -> Any:
    """Return the products of all heads, gate by gate, [B, G*H]."""
    heads, size, _ = R.shape
    B = h.shape[0]
    made = h.reshape(B, heads, size).transpose(0, 1) @ R
    made = made.reshape(heads, B, -1, size).permute(1, 2, 0, 3).reshape(B, -1)
    return made if bias is None else made + bias
