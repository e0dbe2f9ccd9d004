"""What is measured side by side: one short file per library.

A contender is a module with

    NAME                what the table calls it
    version()           its version; ImportError where it is not installed
    prepare(row, weights, x, threads) -> run, or None where it lacks the row's cell

`weights` holds float32 arrays under torch's names (`weight_ih_l0` and so on), `x` is
[T, B, I]. `run()` computes the row once and returns the output in the library's own
layout: [T, B, D*H], or ONNX's [T, D, B, H]; for a `step` row it makes one step with
x[0], the state carried on from its last call. All that can be done once is done in
`prepare`.
"""

from . import exactrnn_rival, onnxruntime_rival, torch_rival

CONTENDERS = (exactrnn_rival, torch_rival, onnxruntime_rival)
