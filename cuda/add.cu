// add: x + y (docs/spec/programs.md#split-add).
//
//   x, y, out [count] float32
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    add(const float* __restrict__ x, const float* __restrict__ y, i64 count, float* __restrict__ out) {
  for (i64 e = first_index(); e < count; e += index_step()) out[e] = plus(x[e], y[e]);
}
