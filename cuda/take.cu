// take_rows: gathers rows of a table by number.
//
//   table [rows, width] bytes      ids [n] int32      out [n, width] bytes; zeros for a row that does not exist
//   status one int32; set to 1 if a number is not one of 0 .. rows - 1, else left alone
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    take_rows(const u8* __restrict__ table, i64 rows, i64 width, const int* __restrict__ ids, i64 n,
              u8* __restrict__ out, int* __restrict__ status) {
  for (i64 e = first_index(); e < n * width; e += index_step()) {
    const i64 id = ids[e / width];
    const bool known = id >= 0 && id < rows;
    if (!known) atomicOr(status, 1);
    out[e] = known ? table[id * width + e % width] : 0;
  }
}
