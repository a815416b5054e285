// linear_mma: quantised rows times a quantised matrix on int8 tensor cores, dequantised at the end.
//
//   q  [x_limbs, n, d] int8 (high limb first)    sx [n] float32
//   w  [w_limbs, m, d] int8                      sw [m] float32     bias [m] float32, or null
//   residual [n, m] float32, or null
//   out [n, m] float32 = f32(sum over sets of acc << shift, in int64) * (sx[t] * sw[j]), then + bias[j],
//       then residual + that
//
// The sets are those of proofcompute.freivalds.product.product_sets: parts of 2^15 columns, limbs of x, limbs of
// w; each has its own int32 accumulators, and their integer sum does not depend on the order.
//
// Tile: 64 rows x 64 columns in steps of 64 bytes. Eight warps, four down and two across, each 16 x 32 by
// four mma.sync.m16n8k32 (row.col, s32.s8.s8.s32) for each limb of x: a tile of weights is read once for both,
// and each limb has accumulators of its own. Shared rows are 20 words, so that the eight rows of a fragment
// start in different banks.
//
// Launch: (ceil(m / 64), ceil(n / 64)) blocks of 256 threads; 15360 bytes of shared memory. Needs sm_80.
// Must hold: limbs 1 or 2; n / 64 <= 65535; d <= 2^24. Any alignment (4-byte loads if rows allow).
#include "canonical.cuh"

#include "mma.cuh"

#define TILE 64
#define WORDS 16
#define PITCH 20
#define PART 32768

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    linear_mma(const i8* __restrict__ q, const float* __restrict__ sx, const i8* __restrict__ w,
               const float* __restrict__ sw, const float* __restrict__ bias, const float* __restrict__ residual,
               int n, int m, int d, int x_limbs, int w_limbs, float* __restrict__ out) {
  __shared__ int left[2][TILE][PITCH];
  __shared__ int right[TILE][PITCH];
  const int t = threadIdx.x, lane = t % WARP, warp = t / WARP;
  const int group = lane / 4, place = lane % 4;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const int down = warp % 4 * 16, across = warp / 4 * 32;
  const bool qa = ((u64)q | (u64)d) % 4 == 0, wa = ((u64)w | (u64)d) % 4 == 0;
  i64 total[4][4] = {};
  for (int part = 0; part < d; part += PART) {
    const int stop = d - part < PART ? d : part + PART;
    for (int wl = 0; wl < w_limbs; ++wl) {
      int acc[2][4][4] = {};
      for (int k = part; k < stop; k += 4 * WORDS) {
        for (int i = t; i < TILE * WORDS; i += THREADS) {
          const int r = i / WORDS, c = i % WORDS;
          const i64 b = ((i64)wl * m + column0 + r) * d;
          right[r][c] = column0 + r < m ? load4(w + b, k + 4 * c, stop, wa) : 0;
          for (int xl = 0; xl < x_limbs; ++xl) {
            const i64 a = ((i64)xl * n + row0 + r) * d;
            left[xl][r][c] = row0 + r < n ? load4(q + a, k + 4 * c, stop, qa) : 0;
          }
        }
        __syncthreads();
#pragma unroll
        for (int half = 0; half < WORDS; half += 8) {
          int b[4][2];
#pragma unroll
          for (int f = 0; f < 4; ++f) {
            b[f][0] = right[across + 8 * f + group][half + place];
            b[f][1] = right[across + 8 * f + group][half + place + 4];
          }
#pragma unroll
          for (int xl = 0; xl < 2; ++xl) {
            if (xl >= x_limbs) continue;  // the whole block
            int a[4];
            a[0] = left[xl][down + group][half + place];
            a[1] = left[xl][down + group + 8][half + place];
            a[2] = left[xl][down + group][half + place + 4];
            a[3] = left[xl][down + group + 8][half + place + 4];
#pragma unroll
            for (int f = 0; f < 4; ++f) mma_16x8x32(acc[xl][f], a, b[f]);
          }
        }
        __syncthreads();
      }
#pragma unroll
      for (int xl = 0; xl < 2; ++xl) {
        if (xl >= x_limbs) continue;
        const int shift = 8 * (x_limbs - 1 - xl + w_limbs - 1 - wl);
#pragma unroll
        for (int f = 0; f < 4; ++f)
#pragma unroll
          for (int i = 0; i < 4; ++i) total[f][i] += (i64)acc[xl][f][i] * (1 << shift);
      }
    }
  }
#pragma unroll
  for (int f = 0; f < 4; ++f)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = row0 + down + group + i / 2 * 8, c = column0 + across + 8 * f + 2 * place + i % 2;
      if (r >= n || c >= m) continue;
      float y = times(__ll2float_rn(total[f][i]), times(sx[r], sw[c]));
      if (bias) y = plus(y, bias[c]);
      if (residual) y = plus(residual[(i64)r * m + c], y);
      out[(i64)r * m + c] = y;
    }
}
