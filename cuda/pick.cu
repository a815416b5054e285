// pick_slices: takes slices of each row by number (docs/spec/primitives.md#take).
//
//   x [n or 1, d, width] bytes      index [n or 1, count], of int32 or int64; the other pointer is null
//   out [n, count, width] bytes; zeros for a slice that does not exist
//   status one int32; set to 1 if a number is not one of 0 .. d - 1, else left alone
//
// x_rows and index_rows are the numbers of their rows. A number of a row that is repeated is looked at in each row.
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    pick_slices(const u8* __restrict__ x, i64 x_rows, i64 d, i64 width, const int* __restrict__ narrow,
                const i64* __restrict__ wide, i64 index_rows, i64 n, i64 count, u8* __restrict__ out,
                int* __restrict__ status) {
  for (i64 e = first_index(); e < n * count * width; e += index_step()) {
    const i64 row = e / (count * width), place = e / width % count + (index_rows > 1 ? row * count : 0);
    const i64 i = wide ? wide[place] : narrow[place];
    const bool known = i >= 0 && i < d;
    if (!known) atomicOr(status, 1);
    out[e] = known ? x[((x_rows > 1 ? row * d : 0) + i) * width + e % width] : 0;
  }
}
