// rms_norm: x / sqrt(tree(x * x) / d + eps) * w (docs/spec/programs.md#rmsnorm-and-layernorm).
//
//   x, out [n, d] float32      w [d] float32
//
// Launch: n blocks of THREADS threads; 1 KiB of shared memory; no alignment. Must hold: 0 <= d <= 2^24.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm(const float* __restrict__ x, const float* __restrict__ w, int d, float eps,
             float* __restrict__ out) {
  const float* from = x + (i64)blockIdx.x * d;
  float* to = out + (i64)blockIdx.x * d;
  const float divisor = rms_root(from, d, eps);
  for (int j = threadIdx.x; j < d; j += THREADS) to[j] = normed(from[j], divisor, w[j]);
}
