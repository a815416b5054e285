// move_rows: up to eight moves of rows of bytes: columns sliced or set side by side, arrays concatenated, rows read
// from or written to a position that device memory names.
//
// Move i copies n rows of `width` bytes:
//   from   row j starts at from + (*from_row + j) * from_pitch        to   the same with to_row and to_pitch
//   from_row, to_row   one int64 each, or null for row 0: a captured launch can be repeated for other rows
//
// Launch: grid (any, moves) of THREADS threads, grid-stride along x; the arguments of unused moves are null and 0.
// No shared memory. Any alignment (4-byte words if all addresses and sizes allow).
// Must hold: no bytes that are written overlap other bytes of the launch.
#include "canonical.cuh"

#define MOVE(i)                                                                                               \
  const u8 *__restrict__ from##i, i64 from_pitch##i, const i64 *__restrict__ from_row##i,                      \
      u8 *__restrict__ to##i, i64 to_pitch##i, const i64 *__restrict__ to_row##i, i64 n##i, i64 width##i
#define TAKE(i)                                                                                             \
  if (blockIdx.y == i)                                                                                      \
    from = from##i, from_pitch = from_pitch##i, from_row = from_row##i, to = to##i, to_pitch = to_pitch##i, \
    to_row = to_row##i, n = n##i, width = width##i;

extern "C" __global__ void __launch_bounds__(THREADS)
    move_rows(MOVE(0), MOVE(1), MOVE(2), MOVE(3), MOVE(4), MOVE(5), MOVE(6), MOVE(7)) {
  const u8* from = from0;
  u8* to = to0;
  const i64 *from_row = from_row0, *to_row = to_row0;
  i64 from_pitch = from_pitch0, to_pitch = to_pitch0, n = n0, width = width0;
  TAKE(1) TAKE(2) TAKE(3) TAKE(4) TAKE(5) TAKE(6) TAKE(7)
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
