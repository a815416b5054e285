// linear_few: few quantised rows times a quantised matrix, dequantised at the end, as in decoding.
//
//   q  [x_limbs, n, d] int8 (high limb first)    sx [n] float32     1 <= n <= 4
//   w  [w_limbs, m, d] int8                      sw [m] float32     bias [m] float32, or null
//   residual [n, m] float32, or null
//   out [n, m] float32 = f32(sum over limbs of acc << shift, in int64) * (sx[t] * sw[j]), then + bias[j],
//       then residual + that
//
// One warp computes each output channel: the product is bound by reading w, of which every byte is read once. The
// time for that depends on how many bytes are in flight: if rows start at multiples of 16 bytes, a lane loads 16
// bytes at a time and issues AHEAD of these loads before it uses the first, so a warp has 2 KiB in flight. All
// warps read the rows of q, which stay in the cache.
//
// A lane's accumulator takes at most 2^15 products of at most 2^14 (parts of 2^20 columns), so |acc| <= 2^29. The
// sum over lanes, parts and limbs is one of integers, so its order does not matter: it is the sum over the sets of
// proofcompute.freivalds.product.product_sets.
//
// Two blocks share a multiprocessor: their 16 warps have 32 KiB of weights in flight, and enough registers not to
// spill.
//
// Launch: ceil(m / 8) blocks of THREADS threads; no shared memory. Any alignment (16-byte loads if q, w and d
// are multiples of WIDE, else 4-byte loads if rows allow).
// Must hold: limbs 1 or 2; 1 <= n <= 4; d <= 2^24.
#include "canonical.cuh"

#define ROWS 4
#define PART (1 << 20)
#define WIDE 16   // bytes of a wide load
#define AHEAD 4   // wide loads of weights that a lane has in flight, for all limbs together

__device__ __forceinline__ int4 wide_load(const i8* row, int k, int stop, bool once) {
  const int4* at = (const int4*)row + k;
  if (k >= stop) return {0, 0, 0, 0};
  return once ? __ldcs(at) : *at;  // weights need not stay in the cache
}

__device__ __forceinline__ int wide_dot(int4 a, int4 b, int sum) {
  return __dp4a(a.w, b.w, __dp4a(a.z, b.z, __dp4a(a.y, b.y, __dp4a(a.x, b.x, sum))));
}

// Adds a lane's share of channel j, for N rows, to total; rows of q and w start at multiples of WIDE.
template <int N, int XL, int WL>
__device__ __forceinline__ void wide(const i8* q, const i8* w, int m, int d, int j, i64 (&total)[ROWS]) {
  constexpr int ahead = N * XL <= 4 ? AHEAD / WL : AHEAD / WL / 2;  // registers are limited
  const int lane = threadIdx.x % WARP;
  for (int part = 0; part < d; part += PART) {
    const int stop = (d - part < PART ? d : part + PART) / WIDE;
    int acc[N][XL][WL] = {};
#pragma unroll 1
    for (int k = part / WIDE + lane; k < stop; k += ahead * WARP) {
      int4 weight[ahead][WL];
#pragma unroll
      for (int a = 0; a < ahead; ++a)
#pragma unroll
        for (int l = 0; l < WL; ++l)
          weight[a][l] = wide_load(w + ((i64)l * m + j) * d, k + a * WARP, stop, true);
#pragma unroll
      for (int a = 0; a < ahead; ++a)
#pragma unroll
        for (int r = 0; r < N; ++r)
#pragma unroll
          for (int h = 0; h < XL; ++h) {
            const int4 x = wide_load(q + ((i64)h * N + r) * d, k + a * WARP, stop, false);
#pragma unroll
            for (int l = 0; l < WL; ++l) acc[r][h][l] = wide_dot(x, weight[a][l], acc[r][h][l]);
          }
    }
#pragma unroll
    for (int r = 0; r < N; ++r)
#pragma unroll
      for (int h = 0; h < XL; ++h)
#pragma unroll
        for (int l = 0; l < WL; ++l) total[r] += (i64)acc[r][h][l] * (1 << 8 * (XL - 1 - h + WL - 1 - l));
  }
}

template <int XL, int WL>
__device__ __forceinline__ void wide(const i8* q, const i8* w, int n, int m, int d, int j, i64 (&total)[ROWS]) {
  switch (n) {
    case 1: return wide<1, XL, WL>(q, w, m, d, j, total);
    case 2: return wide<2, XL, WL>(q, w, m, d, j, total);
    case 3: return wide<3, XL, WL>(q, w, m, d, j, total);
    default: return wide<4, XL, WL>(q, w, m, d, j, total);
  }
}

// The same for rows that start anywhere.
__device__ __forceinline__ void narrow(const i8* q, const i8* w, int n, int m, int d, int x_limbs, int w_limbs, int j,
                                       i64 (&total)[ROWS]) {
  const int lane = threadIdx.x % WARP;
  const bool qa = ((u64)q | (u64)d) % 4 == 0, wa = ((u64)w | (u64)d) % 4 == 0;
  for (int r = 0; r < n; ++r)
    for (int h = 0; h < x_limbs; ++h)
      for (int l = 0; l < w_limbs; ++l)
        for (int part = 0; part < d; part += PART) {
          const int stop = d - part < PART ? d : part + PART;
          const i8 *rows = q + ((i64)h * n + r) * d, *weights = w + ((i64)l * m + j) * d;
          int acc = 0;
#pragma unroll 4
          for (int k = part + 4 * lane; k < stop; k += 4 * WARP)
            acc = __dp4a(load4(rows, k, stop, qa), load4(weights, k, stop, wa), acc);
          const i64 share = (i64)acc * (1 << 8 * (x_limbs - 1 - h + w_limbs - 1 - l));
#pragma unroll
          for (int i = 0; i < ROWS; ++i) total[i] += i == r ? share : 0;  // registers cannot be indexed
        }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    linear_few(const i8* __restrict__ q, const float* __restrict__ sx, const i8* __restrict__ w,
               const float* __restrict__ sw, const float* __restrict__ bias, const float* __restrict__ residual,
               int n, int m, int d, int x_limbs, int w_limbs, float* __restrict__ out) {
  const int lane = threadIdx.x % WARP;
  const int j = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
  if (j >= m) return;  // the whole warp
  i64 total[ROWS] = {};
  if (((u64)q | (u64)w | (u64)d) % WIDE) {
    narrow(q, w, n, m, d, x_limbs, w_limbs, j, total);
  } else if (w_limbs == 1) {
    if (x_limbs == 1)
      wide<1, 1>(q, w, n, m, d, j, total);
    else
      wide<2, 1>(q, w, n, m, d, j, total);
  } else {
    if (x_limbs == 1)
      wide<1, 2>(q, w, n, m, d, j, total);
    else
      wide<2, 2>(q, w, n, m, d, j, total);
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
