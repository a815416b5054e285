// layer_norm: c = x - tree(x) / d; c / sqrt(tree(c * c) / d + eps) * w + b
// (docs/spec/programs.md#rmsnorm-and-layernorm).
//
//   x, out [n, d] float32      w, b [d] float32
//
// Launch: n blocks of THREADS threads; 1 KiB of shared memory; no alignment. Must hold: 0 <= d <= 2^24.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b, int d,
               float eps, float* __restrict__ out) {
  const float* from = x + (i64)blockIdx.x * d;
  float* to = out + (i64)blockIdx.x * d;
  const float width = __int2float_rn(d);
  float mean, squares;
  // One body for both trees: the code of a tree is too large to have it twice.
#pragma unroll 1
  for (int pass = 0; pass < 2; ++pass) {
    squares = tree_sum(
        [&](i64 j) {
          if (pass == 0) return from[j];
          float c = minus(from[j], mean);
          return times(c, c);
        },
        d);
    if (pass == 0) mean = over(squares, width);
  }
  const float size = root(plus(over(squares, width), eps));
  for (int j = threadIdx.x; j < d; j += THREADS)
    to[j] = plus(times(over(minus(from[j], mean), size), w[j]), b[j]);
}
