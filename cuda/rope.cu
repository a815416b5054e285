// rope: rotates each head of a row by tables (docs/spec/programs.md#rope).
//
//   x, out [n, heads * dh] float32      cosine, sine [n, r] float32
//
// Pair i of a head is (2 i, 2 i + 1) if interleaved, else (i, i + r); (a, b) becomes (a c - b s, a s + b c),
// two products and one sum each. Elements from 2 r on are copied.
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
// Must hold: 2 r <= dh; out does not overlap x.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    rope(const float* __restrict__ x, const float* __restrict__ cosine, const float* __restrict__ sine, i64 n,
         int heads, int dh, int r, int interleaved, float* __restrict__ out) {
  const i64 width = (i64)heads * dh;
  for (i64 e = first_index(); e < n * width; e += index_step()) {
    const int c = (int)(e % dh);
    const i64 table = e / width * r;
    out[e] = rotated(x + e - c, c, r, interleaved != 0, cosine + table, sine + table);
  }
}
