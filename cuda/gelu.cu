// gelu: (0.5 x) (1 + erf(x SQRT_HALF)), SQRT_HALF = 0x3f3504f3 (docs/spec/programs.md#gate-gelu-relu).
//
//   x, out [count] float32
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    gelu(const float* __restrict__ x, i64 count, float* __restrict__ out) {
  for (i64 e = first_index(); e < count; e += index_step())
    out[e] = times(times(0.5f, x[e]), plus(1.0f, canonical_erf(times(x[e], from_bits(0x3f3504f3)))));
}
