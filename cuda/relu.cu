// relu: x where x > 0, else +0 (for a NaN too) (docs/spec/programs.md#gate-gelu-relu).
//
//   x, out [count] float32
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    relu(const float* __restrict__ x, i64 count, float* __restrict__ out) {
  for (i64 e = first_index(); e < count; e += index_step())
    out[e] = x[e] > 0.0f ? x[e] : 0.0f;
}
