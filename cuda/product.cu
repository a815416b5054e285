// product_plain, product_dp4a: int8 rows times int8 rows, accumulated in int32
// (docs/spec/arithmetic.md#products).
//
//   q [n, d] int8, rows ldq bytes apart      w [m, d] int8, rows ldw bytes apart      acc [n, m] int32
//
// acc[t, j] = sum of q[t, i] w[j, i]. Integer addition is associative, so both give the same numbers.
//
// product_plain: one thread for each element, the obvious version. Launch: (ceil(n m / THREADS)) x THREADS.
// product_dp4a:  tiles of 64 x 64 in steps of 64 columns; each thread owns 4 x 4 elements, 16 apart, so that
//                a warp's reads of shared memory have no bank conflicts (rows are 17 words).
//                Launch: (ceil(m / 64), ceil(n / 64)) blocks of 256 threads; 8704 bytes of shared memory.
//
// Must hold: d <= MAX_CONTRACTION = 2^15 (then |acc| <= 2^29); n / 64 <= 65535. Any alignment; 4-byte loads
// are used if rows start at multiples of 4.
#include "canonical.cuh"

#define TILE 64
#define WORDS 16

extern "C" __global__ void __launch_bounds__(THREADS)
    product_plain(const i8* __restrict__ q, i64 ldq, const i8* __restrict__ w, i64 ldw, int n, int m, int d,
                  int* __restrict__ acc) {
  const i64 e = first_index();
  if (e >= (i64)n * m) return;
  const i8* a = q + e / m * ldq;
  const i8* b = w + e % m * ldw;
  int sum = 0;
  for (int i = 0; i < d; ++i) sum += (int)a[i] * (int)b[i];
  acc[e] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    product_dp4a(const i8* __restrict__ q, i64 ldq, const i8* __restrict__ w, i64 ldw, int n, int m, int d,
                 int* __restrict__ acc) {
  __shared__ int left[TILE][WORDS + 1];
  __shared__ int right[TILE][WORDS + 1];
  const int t = threadIdx.x, tx = t % 16, ty = t / 16;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const bool qa = ((u64)q | (u64)ldq) % 4 == 0, wa = ((u64)w | (u64)ldw) % 4 == 0;
  int sum[4][4] = {};
  for (int k = 0; k < d; k += 4 * WORDS) {
    for (int i = t; i < TILE * WORDS; i += THREADS) {
      int r = i / WORDS, c = i % WORDS;
      left[r][c] = row0 + r < n ? load4(q + (row0 + r) * ldq, k + 4 * c, d, qa) : 0;
      right[r][c] = column0 + r < m ? load4(w + (column0 + r) * ldw, k + 4 * c, d, wa) : 0;
    }
    __syncthreads();
#pragma unroll 4
    for (int c = 0; c < WORDS; ++c) {
      int a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = left[ty + 16 * i][c];
        b[i] = right[tx + 16 * i][c];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = __dp4a(a[i], b[j], sum[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      int r = row0 + ty + 16 * i, c = column0 + tx + 16 * j;
      if (r < n && c < m) acc[(i64)r * m + c] = sum[i][j];
    }
}
