// rope: rotates each head of a row by tables (docs/spec/programs.md#rope).
//
//   x, out [n, heads * dh] float32      cosine, sine [n, r] float32
//
// Pair i of a head is columns start + (2 i, 2 i + 1) if interleaved, else start + (i, i + r); (a, b) becomes
// (a c - b s, a s + b c), two products and one sum each. The other columns are copied.
//
// Launch: any one-dimensional grid of THREADS threads (grid-stride). No shared memory, no alignment.
// Must hold: 0 <= start, start + 2 r <= dh; out does not overlap x.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    rope(const float* __restrict__ x, const float* __restrict__ cosine, const float* __restrict__ sine, i64 n,
         int heads, int dh, int r, int interleaved, int start, float* __restrict__ out) {
  const i64 width = (i64)heads * dh;
  for (i64 e = first_index(); e < n * width; e += index_step()) {
    const int c = (int)(e % dh) - start;
    const i64 table = e / width * r;
    out[e] = c < 0 ? x[e] : rotated(x + e - c, c, r, interleaved != 0, cosine + table, sine + table);
  }
}
