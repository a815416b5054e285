// rescale: int32 accumulator sets to float32 (docs/spec/arithmetic.md#rescaling).
//
//   acc [sets, n, m] int32    shifts [sets] int32, 0..32    sx [n], sw [m] float32    bias [m] float32, or null
//   out [n, m] float32 = f32(sum of acc[i] << shifts[i], in int64) * (sx[t] * sw[j]), then + bias[j]
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
// Must hold: the sum stays inside int64.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    rescale(const int* __restrict__ acc, const int* __restrict__ shifts, int sets, i64 n, i64 m,
            const float* __restrict__ sx, const float* __restrict__ sw, const float* __restrict__ bias,
            float* __restrict__ out) {
  for (i64 e = first_index(); e < n * m; e += index_step()) {
    const i64 t = e / m, j = e % m;
    u64 total = 0;
    for (int i = 0; i < sets; ++i) total += (u64)(i64)acc[i * n * m + e] << shifts[i];
    float y = times(__ll2float_rn((i64)total), times(sx[t], sw[j]));
    if (bias) y = plus(y, bias[j]);
    out[e] = y;
  }
}
