// view_N: reads rows through a view (docs/spec/primitives.md#view), for elements of N bytes.
//
//   x [n, row]      out [n, size] = shape      plan int64 [4 rank]: of each axis its size, stride, low and high
//   fill            the element in margins
//
// What is read lies in the row; the caller has checked it.
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

template <typename Element>
__device__ __forceinline__ void look(const Element* x, i64 row, i64 n, i64 size, const i64* plan, int rank, i64 offset,
                                     u64 fill, Element* out) {
  for (i64 e = first_index(); e < n * size; e += index_step()) {
    i64 rest = e % size, place = offset;
    bool inside = true;
#pragma unroll 1  // unrolled, it spills
    for (int j = rank - 1; j >= 0; --j) {
      const i64* axis = plan + 4 * j;
      const i64 i = rest % axis[0];
      rest /= axis[0];
      place += i * axis[1];
      inside = inside && i >= axis[2] && i < axis[3];
    }
    out[e] = inside ? x[e / size * row + place] : (Element)fill;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    view_1(const u8* __restrict__ x, i64 row, i64 n, i64 size, const i64* __restrict__ plan, int rank, i64 offset,
           u64 fill, u8* __restrict__ out) {
  look(x, row, n, size, plan, rank, offset, fill, out);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    view_4(const u32* __restrict__ x, i64 row, i64 n, i64 size, const i64* __restrict__ plan, int rank, i64 offset,
           u64 fill, u32* __restrict__ out) {
  look(x, row, n, size, plan, rank, offset, fill, out);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    view_8(const u64* __restrict__ x, i64 row, i64 n, i64 size, const i64* __restrict__ plan, int rank, i64 offset,
           u64 fill, u64* __restrict__ out) {
  look(x, row, n, size, plan, rank, offset, fill, out);
}
