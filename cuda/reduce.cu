// reduce_sum, reduce_prod, reduce_extreme: reduce binary32 numbers along an axis (docs/spec/primitives.md#reduce).
//
//   x [rows, d, rest] float32      out [rows, rest] float32
//
// reduce_sum is the halving tree, with a block for each result; launch any one-dimensional grid of THREADS threads, 1 KiB
// of shared memory. reduce_prod multiplies from the first element to the last. reduce_extreme is the greatest
// number, d >= 1, or the least one if `least`; NaN wins over all, and -0 is less than +0. These two have a thread for
// each result: any one-dimensional grid of THREADS threads (grid-stride), no shared memory.
#include "scalars.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    reduce_sum(const float* __restrict__ x, i64 rows, i64 d, i64 rest, float* __restrict__ out) {
  for (i64 e = blockIdx.x; e < rows * rest; e += gridDim.x) {
    const float* column = x + e / rest * d * rest + e % rest;
    const float sum = tree_sum([&](i64 i) { return column[i * rest]; }, d);
    if (threadIdx.x == 0) out[e] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    reduce_prod(const float* __restrict__ x, i64 rows, i64 d, i64 rest, float* __restrict__ out) {
  for (i64 e = first_index(); e < rows * rest; e += index_step()) {
    const float* column = x + e / rest * d * rest + e % rest;
    float product = d ? column[0] : 1.0f;
    for (i64 i = 1; i < d; ++i) product = times(product, column[i * rest]);
    out[e] = product;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    reduce_extreme(const float* __restrict__ x, i64 rows, i64 d, i64 rest, int least, float* __restrict__ out) {
  for (i64 e = first_index(); e < rows * rest; e += index_step()) {
    const float* column = x + e / rest * d * rest + e % rest;
    float found = column[0];
    for (i64 i = 1; i < d; ++i)
      found = least ? least_of(found, column[i * rest]) : greater(found, column[i * rest]);
    out[e] = found;
  }
}
