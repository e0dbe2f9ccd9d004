"""The operators `exactrnn::forward` and `exactrnn::backward`, and autograd around them.

`torch.compile` and `torch.export` see two operators whose results have shapes that
follow from those of their arguments. An `autograd.Function` stands outside, which keeps
what backward needs as tensors. In plain eager mode it calls the kernels without the way
through torch's dispatcher, which takes as long as a small layer.

The operators have no derivative of their own: by `register_autograd` a forward-mode
derivative would be zeros, silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch._C._functorch import is_legacy_batchedtensor, peek_interpreter_stack
from torch.autograd import forward_ad

from exactrnn._run.foreign import sizes_kept
from exactrnn.interop.torch import _kernels
from exactrnn.interop.torch._direct import PLAIN
from exactrnn.interop.torch._kernels import Flags, Tensors
from exactrnn.interop.torch._plans import plan_of

library = torch.library.Library("exactrnn", "DEF")
library.define(
    "forward(Tensor x, Tensor[] state, Tensor[] weights, Tensor? batch_sizes, "
    "Tensor[] masks, str line, bool batch_first, bool keep) -> Tensor[]"
)
library.define(
    "backward(Tensor?[] grads, Tensor sequence, Tensor[] weights, Tensor[] kept, "
    "str line, bool[] flags) -> Tensor[]"
)
library.impl("forward", _kernels.forward, "CPU")
library.impl("backward", _kernels.backward, "CPU")


def refuse_batched(*_: object) -> NoReturn:
    """Raise the error of `torch.vmap`."""
    raise NotImplementedError(
        "exactrnn: expected no torch.func transform (vmap, grad, jvp, ...) around its "
        "modules, which have no rules for them: give vmap's dimension to the batch, "
        "take gradients by torch.autograd, or swap back to torch.nn by unswap"
    )


library.impl("forward", refuse_batched, "FuncTorchBatched")
library.impl("backward", refuse_batched, "FuncTorchBatched")


# Shapes


@torch.library.register_fake("exactrnn::forward", lib=library)
def forward_shapes(
    x: torch.Tensor,
    state: Tensors,
    weights: Tensors,
    batch_sizes: torch.Tensor | None,
    masks: Tensors,  # noqa: ARG001
    line: str,
    batch_first: bool,
    keep: bool,
) -> list[torch.Tensor]:
    """Return tensors of the shapes that `forward` gives, without values."""
    plan = plan_of(line, weights[0].dtype)
    spec, packed = plan.spec, batch_sizes is not None
    if batch_sizes is not None:
        steps, rows = batch_sizes.shape[0], state[0].shape[1]
    elif not spec.suffixed:
        steps, rows = 1, x.shape[0]
    else:
        rows, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    lead = (spec.num_layers * spec.directions, rows) if spec.suffixed else (rows,)
    found = [x.new_empty((*lead, width)) for width in spec.state_sizes]
    if spec.suffixed:
        width = spec.directions * spec.output_size
        found.insert(0, x.new_empty((*x.shape[:-1], width)))
    if plan.clock:
        found.append(x.new_empty((rows,), dtype=torch.int64))
    if not keep:
        return found
    if packed:
        found.append(x.new_empty((steps, rows, spec.input_size)))
        found.append(x.new_empty((x.shape[0],), dtype=torch.int64))
        found.append(x.new_empty((rows,), dtype=torch.int64))
    for place, sizes in enumerate(sizes_kept(spec, steps, rows)):
        dtype = torch.uint8 if place < spec.num_layers else x.dtype
        found.append(x.new_empty(sizes, dtype=dtype))
    return found


@torch.library.register_fake("exactrnn::backward", lib=library)
def backward_shapes(
    grads: Sequence[torch.Tensor | None],  # noqa: ARG001
    sequence: torch.Tensor,
    weights: Tensors,
    kept: Tensors,
    line: str,
    flags: Sequence[bool],
) -> list[torch.Tensor]:
    """Return tensors of the shapes that `backward` gives, without values."""
    plan, asked = plan_of(line, weights[0].dtype), Flags(*flags)
    spec, x = plan.spec, sequence
    if asked.packed:
        rows = x.shape[1]
        index = kept[plan.clock + (spec.num_layers - 1) * asked.dropped]
        dx = x.new_empty((index.shape[0], spec.input_size))
    elif not spec.suffixed:
        rows, dx = x.shape[0], x.new_empty(x.shape)
    elif asked.batch_first:
        rows, steps, width = x.shape
        dx = x.new_empty((steps, rows, width)).transpose(0, 1)
    else:
        rows, dx = x.shape[1], x.new_empty(x.shape)
    lead = (spec.num_layers * spec.directions, rows) if spec.suffixed else (rows,)
    found = [dx] if asked.x else []
    found += [x.new_empty((*lead, width)) for width in spec.state_sizes]
    if asked.weights:
        found += [x.new_empty(shape) for shape in plan.shapes]
    return found


# Calls


class Job(NamedTuple):
    """What a call is about beside its tensors: plain values, fixed once compiled.

    `parts` are those of a state, `given` how many of them the caller has given: all or
    none. `masks` counts the dropout masks.
    """

    line: str
    batch_first: bool
    step: bool
    clock: bool
    parts: int
    given: int
    masks: int

    @property
    def results(self) -> int:
        """How many tensors the caller gets."""
        return self.parts + (not self.step)


def is_plain(x: torch.Tensor, weights: Tensors) -> bool:
    """Tell whether nobody looks on: tensors of memory, and no mode or tracer."""
    return (
        type(x) in PLAIN
        and type(weights[0]) in PLAIN
        and x.device.type == "cpu"
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
    )


def is_watched() -> bool:
    """Tell whether a mode, a tracer, a transform or autocast sees each operation."""
    return bool(
        torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
        or peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
    )


def choose(x: torch.Tensor, weights: Tensors) -> Any:
    """Return what computes: the kernels themselves, or the operators."""
    if not torch.compiler.is_compiling() and is_plain(x, weights):
        return _kernels
    return torch.ops.exactrnn


class Recurrence(torch.autograd.Function):
    """A call that can be gone back: `apply(job, x, batch_sizes, *tensors)`.

    The tensors are the parts of the initial state, the dropout masks and the weights.
    """

    @staticmethod
    def forward(
        ctx: Any,
        job: Job,
        x: torch.Tensor,
        batch_sizes: torch.Tensor | None,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Run over a sequence and keep what going back needs."""
        ctx.set_materialize_grads(False)
        middle = job.given + job.masks
        state, masks = tensors[: job.given], tensors[job.given : middle]
        weights = tensors[middle:]
        found = choose(x, weights).forward(
            x, state, weights, batch_sizes, masks, job.line, job.batch_first, True
        )
        results, kept = found[: job.results], found[job.results :]
        sequence, packed = x, batch_sizes is not None
        if packed:
            sequence, *kept = kept
        clock = state[-1:] if job.clock else ()
        ctx.job, ctx.packed = job, packed
        ctx.save_for_backward(sequence, *weights, *clock, *masks, *kept)
        if job.clock:
            ctx.mark_non_differentiable(results[-1])
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        """Go back through time."""
        if not torch.compiler.is_compiling():
            refuse_more(grads)
        job, needs = ctx.job, ctx.needs_input_grad
        before = 3 + job.given + job.masks
        count = len(needs) - before
        sequence, *saved = ctx.saved_tensors
        weights, kept = saved[:count], saved[count:]
        wants_weights = any(needs[before:])
        asked = Flags(
            job.batch_first, ctx.packed, job.masks > 0, needs[1], wants_weights
        )
        found = choose(sequence, weights).backward(
            grads[: job.results - job.clock], sequence, weights, kept, job.line, asked
        )
        dx, first = (found[0], 1) if asked.x else (None, 0)
        last = first + job.parts - job.clock
        dstate = found[first:last] if job.given else []
        dweights = found[last:] if wants_weights else [None] * count
        rest = [None] * (before - 3 - len(dstate))
        return None, dx, None, *dstate, *rest, *dweights


def run(
    job: Job,
    x: torch.Tensor,
    batch_sizes: torch.Tensor | None,
    tensors: tuple[Tensors, Tensors, Tensors],
) -> Sequence[torch.Tensor]:
    """Return the output, but of a single step, and the parts of the final state.

    `tensors` are the parts of the initial state, dropout masks and weights.
    """
    state, masks, weights = tensors
    if not torch.compiler.is_compiling():
        refuse_transforms(x, *tensors)
    if torch.is_grad_enabled() and any_needs_grad(x, state, weights):
        given: Tensors = (*state, *masks, *weights)
        if torch.compiler.is_compiling():
            given = made_distinct(x, given)
        found: Sequence[torch.Tensor] = Recurrence.apply(job, x, batch_sizes, *given)
        return found
    keep = job.masks > 0  # dropout is a thing of training
    found = choose(x, weights).forward(
        x, state, weights, batch_sizes, masks, job.line, job.batch_first, keep
    )
    return found[: job.results]


def made_distinct(x: torch.Tensor, tensors: Tensors) -> Tensors:
    """Return these with a view for each that is there before, or is x.

    Dynamo traces no function that is given a tensor twice, as in `h = c = zeros`.
    """
    found = [x]
    for tensor in tensors:
        twice = any(tensor is other for other in found)
        found.append(tensor.view_as(tensor) if twice else tensor)
    return found[1:]


def any_needs_grad(x: torch.Tensor, *groups: Tensors) -> bool:
    """Tell whether a gradient of any of these tensors may be asked for."""
    if torch.jit.is_tracing():  # of what is to run without this module
        return False
    return x.requires_grad or any(t.requires_grad for group in groups for t in group)


def refuse_more(grads: Sequence[torch.Tensor | None]) -> None:
    """Raise within backward where a second derivative or batches are asked for."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "exactrnn: expected backward without create_graph=True: its modules have "
            "no second derivatives; swap back to torch.nn by unswap"
        )
    if any(grad is not None and is_legacy_batchedtensor(grad) for grad in grads):
        raise NotImplementedError(
            "exactrnn: expected no batch of gradients (is_grads_batched=True, or "
            "vectorize=True of jacobian), for which its modules have no rules: go back "
            "for one after the other, or swap back to torch.nn by unswap"
        )


def refuse_transforms(x: torch.Tensor, *groups: Tensors) -> None:
    """Raise within torch.func's transforms, and for inputs with a tangent."""
    if peek_interpreter_stack() is not None:
        refuse_batched()
    if forward_ad._current_level < 0:
        return
    for tensor in (x, *(t for group in groups for t in group)):
        if forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                "exactrnn: expected no tangents: its modules have no forward-mode "
                "derivatives; swap back to torch.nn by unswap"
            )
