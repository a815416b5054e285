// settle: x + (+0.0), which turns -0 into +0 (docs/spec/arithmetic.md#committed-values).
//
//   x, out [count] float32      status one int32; set to 1 if an element is NaN or infinite, else left alone
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    settle(const float* __restrict__ x, i64 count, float* __restrict__ out, int* __restrict__ status) {
  for (i64 e = first_index(); e < count; e += index_step()) {
    if (!is_finite(x[e])) atomicOr(status, 1);
    out[e] = plus(x[e], 0.0f);
  }
}
