// linear_few: few quantised rows times a quantised matrix, dequantised on the way out: what decoding does.
//
//   q  [x_limbs, n, d] int8 (high limb first)    sx [n] float32     1 <= n <= 4
//   w  [w_limbs, m, d] int8                      sw [m] float32     bias [m] float32, or null
//   residual [n, m] float32, or null
//   out [n, m] float32 = f32(sum over limbs of acc << shift, in int64) * (sx[t] * sw[j]), then + bias[j],
//       then residual + that
//
// One warp for each output channel: the product is bound by reading w, and every byte of it is read once, 128
// consecutive bytes by a warp. The rows are read by all warps and stay in the cache.
//
// A lane's accumulator takes at most 2^15 products of at most 2^14 (parts of 2^20 columns), so |acc| <= 2^29; what
// lanes, parts and limbs add up to is an integer whose order of summation does not matter: it is the sum over the
// sets of kernels.product_sets.
//
// Launch: ceil(m / 8) blocks of THREADS threads; no shared memory. Any alignment (4-byte loads where rows allow).
// Must hold: limbs 1 or 2; 1 <= n <= 4; d <= 2^24.
#include "canonical.cuh"

#define ROWS 4
#define PART (1 << 20)

extern "C" __global__ void __launch_bounds__(THREADS)
    linear_few(const i8* __restrict__ q, const float* __restrict__ sx, const i8* __restrict__ w,
               const float* __restrict__ sw, const float* __restrict__ bias, const float* __restrict__ residual,
               int n, int m, int d, int x_limbs, int w_limbs, float* __restrict__ out) {
  const int lane = threadIdx.x % WARP;
  const int j = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
  if (j >= m) return;  // the whole warp
  const bool qa = ((u64)q | (u64)d) % 4 == 0, wa = ((u64)w | (u64)d) % 4 == 0;
  i64 total[ROWS] = {};
  for (int part = 0; part < d; part += PART) {
    const int stop = d - part < PART ? d : part + PART;
    int acc[ROWS][2][2] = {};  // row, limb of x, limb of w
#pragma unroll 4
    for (int k = part + 4 * lane; k < stop; k += 4 * WARP) {
      int weight[2];
#pragma unroll
      for (int l = 0; l < 2; ++l) weight[l] = l < w_limbs ? load4(w + ((i64)l * m + j) * d, k, stop, wa) : 0;
#pragma unroll
      for (int r = 0; r < ROWS; ++r)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if (r >= n || h >= x_limbs) continue;
          const int x = load4(q + ((i64)h * n + r) * d, k, stop, qa);
#pragma unroll
          for (int l = 0; l < 2; ++l) acc[r][h][l] = __dp4a(x, weight[l], acc[r][h][l]);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int l = 0; l < 2; ++l)
          if (h < x_limbs && l < w_limbs)
            total[r] += (i64)acc[r][h][l] * (1 << 8 * (x_limbs - 1 - h + w_limbs - 1 - l));
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    u64 sum = (u64)total[r];
    for (int apart = WARP / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(WHOLE_WARP, sum, apart);
    if (lane != r || r >= n) continue;
    float y = times(__ll2float_rn((i64)sum), times(sx[r], sw[j]));
    if (bias) y = plus(y, bias[j]);
    if (residual) y = plus(residual[(i64)r * m + j], y);
    out[(i64)r * m + j] = y;
  }
}
