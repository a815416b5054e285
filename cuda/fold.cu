// fold31: combines the rows of a weight matrix by residues, V = W^T S
// (docs/spec/freivalds.md#columns; field.fold31).
//
//   w [m, d] int8      s [k, m] uint32 below 2^31 - 1      out [k, d] uint32 canonical residues
//
// Launch: (ceil(d / THREADS), k) blocks of THREADS threads, k <= 65535; no shared memory, no alignment.
// Must hold: m <= 2^24 (then |sum| < 2^24 2^7 2^31 = 2^62).
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    fold31(const i8* __restrict__ w, const u32* __restrict__ s, i64 m, i64 d, u32* __restrict__ out) {
  const i64 c = first_index();
  if (c >= d) return;
  const u32* column = s + blockIdx.y * m;
  i64 sum = 0;
  for (i64 i = 0; i < m; ++i) sum += (i64)w[i * d + c] * (i64)column[i];
  sum %= 0x7fffffff;
  out[blockIdx.y * d + c] = (u32)(sum < 0 ? sum + 0x7fffffff : sum);
}
