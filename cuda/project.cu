// project31, project61: Freivalds projections (docs/spec/freivalds.md#checking-a-hint).
//
//   y [n, m] int8 to int32 (project31) or int8 to int64 (project61), `size` bytes each
//   s [k, m] residues: uint32 below 2^31 - 1, or uint64 below 2^61 - 1
//   out [n, k] canonical residues of the same width = y times the columns s
//
// Launch: (n, k) blocks of THREADS threads, k <= 65535; 64 bytes of shared memory; y aligned to its elements.
// Must hold: 0 <= m <= 2^24.
//
// Exact, project31: y's residue times s is below 2^62; its upper and lower 31 bits add up to below 2^32, and
// 2^24 such sums to below 2^56. project61: the product of two residues is high 2^64 + low with high < 2^58;
// modulo 2^61 - 1 it is (high 2^3 + low >> 61) + (low mod 2^61), below 2^62; it is reduced to below 2^61 and cut
// into halves of 32 and 29 bits, 2^24 of which add up to below 2^56 each.
#include "canonical.cuh"

#define P31 0x7fffffffu
#define P61 0x1fffffffffffffffull

__device__ __forceinline__ i64 element(const void* y, int size, i64 e) {
  if (size == 1) return ((const i8*)y)[e];
  if (size == 2) return ((const short*)y)[e];
  if (size == 4) return ((const int*)y)[e];
  return ((const i64*)y)[e];
}

__device__ __forceinline__ u64 reduce61(u64 x) {  // any x to 0 .. P61 - 1
  x = (x & P61) + (x >> 61);
  return x >= P61 ? x - P61 : x;
}

__device__ __forceinline__ u64 multiply61(u64 a, u64 b) {  // residues
  const u64 low = a * b, high = __umul64hi(a, b);
  return reduce61((high << 3 | low >> 61) + (low & P61));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    project31(const void* __restrict__ y, int size, const u32* __restrict__ s, i64 m, u32* __restrict__ out) {
  const i64 row = (i64)blockIdx.x * m, column = (i64)blockIdx.y * m;
  u64 sum = 0;
  for (i64 i = threadIdx.x; i < m; i += THREADS) {
    const i64 signed_residue = element(y, size, row + i) % (i64)P31;
    const u64 residue = (u64)(signed_residue < 0 ? signed_residue + P31 : signed_residue);
    const u64 term = residue * s[column + i];
    sum += (term & P31) + (term >> 31);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[(i64)blockIdx.x * gridDim.y + blockIdx.y] = (u32)(sum % P31);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    project61(const void* __restrict__ y, int size, const u64* __restrict__ s, i64 m, u64* __restrict__ out) {
  const i64 row = (i64)blockIdx.x * m, column = (i64)blockIdx.y * m;
  u64 low = 0, high = 0;
  for (i64 i = threadIdx.x; i < m; i += THREADS) {
    const i64 value = element(y, size, row + i);
    const u64 size61 = reduce61(value < 0 ? 0 - (u64)value : (u64)value);
    const u64 term = multiply61(value < 0 && size61 ? P61 - size61 : size61, s[column + i]);
    low += term & 0xffffffffu;
    high += term >> 32;
  }
  low = block_sum(low);
  high = block_sum(high);
  if (threadIdx.x == 0) {
    const u64 whole = multiply61(reduce61(high), 1ull << 32) + reduce61(low);
    out[(i64)blockIdx.x * gridDim.y + blockIdx.y] = reduce61(whole);
  }
}
