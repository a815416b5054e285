// embed: table rows times their scales (docs/spec/programs.md#embed).
//
//   q [n, d] int8      s [n] float32      out [n, d] float32 = f32(q) * s[row]
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    embed(const i8* __restrict__ q, const float* __restrict__ s, i64 n, i64 d, float* __restrict__ out) {
  for (i64 e = first_index(); e < n * d; e += index_step()) out[e] = times(__int2float_rn(q[e]), s[e / d]);
}
