// gate: g / (1 + exp(-g)) * u of rows that hold g and then u (docs/spec/programs.md#gate-gelu-relu).
//
//   x [n, 2 f] float32      out [n, f] float32
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    gate(const float* __restrict__ x, i64 n, i64 f, float* __restrict__ out) {
  for (i64 e = first_index(); e < n * f; e += index_step()) {
    const float* row = x + e / f * (2 * f) + e % f;
    out[e] = gated(row[0], row[f]);
  }
}
