// move_rows: rows of bytes from one place to another: columns cut out or set side by side, rows read from or
// written to a place that device memory names.
//
//   from   row i starts at from + (*from_row + i) * from_pitch        to   the same with to_row and to_pitch
//   from_row, to_row   one int64 each, or null for row 0: a captured launch is repeated for other rows
//   n rows of `width` bytes
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory. Any alignment: words of
// four bytes where everything allows.
// Must hold: the two places do not overlap.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    move_rows(const u8* __restrict__ from, i64 from_pitch, const i64* __restrict__ from_row,
              u8* __restrict__ to, i64 to_pitch, const i64* __restrict__ to_row, i64 n, i64 width) {
  const u8* source = from + (from_row ? *from_row : 0) * from_pitch;
  u8* target = to + (to_row ? *to_row : 0) * to_pitch;
  const bool words = ((u64)source | (u64)target | (u64)from_pitch | (u64)to_pitch | (u64)width) % 4 == 0;
  if (words) {
    const i64 each = width / 4;
    for (i64 e = first_index(); e < n * each; e += index_step()) {
      const i64 row = e / each, c = 4 * (e % each);
      *(u32*)(target + row * to_pitch + c) = *(const u32*)(source + row * from_pitch + c);
    }
  } else {
    for (i64 e = first_index(); e < n * width; e += index_step()) {
      const i64 row = e / width, c = e % width;
      target[row * to_pitch + c] = source[row * from_pitch + c];
    }
  }
}
