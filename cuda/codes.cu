// circle_load, circle_level: words of a circle code (proofcompute/codes/circle.py, encode31)
// multiply_extension: products in GF(p^6), p = 2^31 - 1 (proofcompute/codes/extension.py)
// weigh31, extremes: the rows of a hint's set under random rows, and its limits (definition/hints.py, sum_hint)
//
//   circle_load    rows [n, length] int8 -> work [2^bits, n] uint32 residues, zeros from row `length` on
//   circle_level   one level of the transform, in place: factors[2^(bits - 1 - level) - 1 + block] is that of a
//                  block of 2^(level + 1) rows. Levels bits - 1, ..., 0, one launch each, make the words.
//   multiply_extension   x [6, n] uint64 residues, y [6, n] or, with `one`, [6, 1] -> out [6, n]
//   weigh31        y [n, m] int32, r [k, n] uint32 residues -> out [k, m] residues
//   extremes       y [count] int32 -> out [2 blocks] int32, the least and the greatest of what each block reads
//
// Launch: circle_load, circle_level and multiply_extension: any one-dimensional grid (grid-stride). weigh31:
// (ceil(m / THREADS), k) blocks, k <= 65535. extremes: at most ceil(count / THREADS) blocks, 32 bytes of shared
// memory. All of THREADS threads; no alignment. Must hold: n <= 2^24 (weigh31).
//
// Exact: a product of residues is below 2^62; its upper and lower 31 bits add up to below 2^32. 2^24 such sums
// are below 2^56; six of them, one sum times 7, below 2^38.
#include "canonical.cuh"

#define P31 0x7fffffffu
#define DEGREE 6

__device__ __forceinline__ u64 folded(u64 product) { return (product & P31) + (product >> 31); }

__device__ __forceinline__ u32 residue_of(i64 value) {
  value %= (i64)P31;
  return (u32)(value < 0 ? value + P31 : value);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    circle_load(const i8* __restrict__ rows, i64 n, i64 length, i64 size, u32* __restrict__ work) {
  for (i64 e = first_index(); e < size * n; e += index_step()) {
    const i64 position = e / n, row = e % n;
    work[e] = position < length ? residue_of(rows[row * length + position]) : 0;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    circle_level(u32* __restrict__ work, const u32* __restrict__ factors, i64 n, int bits, int level) {
  const i64 half = 1ll << level, count = n << (bits - 1);
  for (i64 e = first_index(); e < count; e += index_step()) {
    const i64 pair = e / n, row = e % n, block = pair >> level;
    const i64 low = ((block << (level + 1)) + (pair & (half - 1))) * n + row, high = low + half * n;
    const u32 factor = factors[(1ll << (bits - 1 - level)) - 1 + block];
    const u32 a = work[low], b = (u32)(folded((u64)work[high] * factor) % P31);
    work[low] = (u32)(((u64)a + b) % P31);
    work[high] = (u32)(((u64)a + P31 - b) % P31);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    multiply_extension(const u64* __restrict__ x, const u64* __restrict__ y, i64 n, int one,
                       u64* __restrict__ out) {
  const i64 step = one ? 1 : n;
  for (i64 t = first_index(); t < n; t += index_step()) {
    u64 a[DEGREE], b[DEGREE];
#pragma unroll
    for (int i = 0; i < DEGREE; ++i) {
      a[i] = x[i * n + t];
      b[i] = y[i * step + (one ? 0 : t)];
    }
#pragma unroll
    for (int degree = 0; degree < DEGREE; ++degree) {
      u64 low = 0, high = 0;
#pragma unroll
      for (int i = 0; i < DEGREE; ++i) {
        if (i <= degree) low += folded(a[i] * b[degree - i]);
        else high += folded(a[i] * b[degree - i + DEGREE]);
      }
      out[degree * n + t] = (low + 7 * high) % P31;
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    weigh31(const int* __restrict__ y, const u32* __restrict__ r, i64 n, i64 m, u32* __restrict__ out) {
  const i64 c = first_index();
  if (c >= m) return;
  const u32* column = r + blockIdx.y * n;
  u64 sum = 0;
  for (i64 t = 0; t < n; ++t) sum += folded((u64)residue_of(y[t * m + c]) * column[t]);
  out[blockIdx.y * m + c] = (u32)(sum % P31);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    extremes(const int* __restrict__ y, i64 count, int* __restrict__ out) {
  u32 least = 0, most = 0;  // of numbers that order as y does, and the other way round
  for (i64 e = first_index(); e < count; e += index_step()) {
    const u32 up = (u32)y[e] ^ 0x80000000u;
    most = up > most ? up : most;
    least = ~up > least ? ~up : least;
  }
  most = block_max(most);
  least = block_max(least);
  if (threadIdx.x == 0) {
    out[2 * blockIdx.x] = (int)(~least ^ 0x80000000u);
    out[2 * blockIdx.x + 1] = (int)(most ^ 0x80000000u);
  }
}
