// heads: makes attention's inputs of a row of queries, keys and values side by side
// (docs/spec/programs.md#quantiseheads).
//
//   x [n, (h + 2 hk) dh] float32          cosine, sine [n, r] float32, 2 r <= dh
//   queries [n, h, dh] float32, rotated   kq, vq [n, hk, limbs, dh] int8   ks, vs [n, hk] float32
//   status one int32; set to 1 if an element of a key or value is NaN or infinite, else left alone
//
// Keys are rotated and then quantised, values are quantised, with one scale for each head.
//
// Launch: n (h + 2 hk) blocks of THREADS threads, one for each head; 32 bytes of shared memory; no alignment.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    heads(const float* __restrict__ x, const float* __restrict__ cosine, const float* __restrict__ sine, int h,
          int hk, int dh, int r, int interleaved, int limbs, float* __restrict__ queries, i8* __restrict__ kq,
          float* __restrict__ ks, i8* __restrict__ vq, float* __restrict__ vs, int* __restrict__ status) {
  const int count = h + 2 * hk, place = (int)(blockIdx.x % count);
  const i64 row = blockIdx.x / count;
  const float* head = x + (i64)blockIdx.x * dh;
  const float *co = cosine + row * r, *si = sine + row * r;
  auto turned = [&](int c) { return rotated(head, c, r, interleaved != 0, co, si); };
  if (place < h) {
    float* to = queries + (row * h + place) * dh;
    for (int c = threadIdx.x; c < dh; c += THREADS) to[c] = turned(c);
  } else if (place < h + hk) {
    const i64 unit = row * hk + place - h;
    i8* high = kq + unit * limbs * dh;
    quantise_row(turned, dh, limbs, high, high + dh, ks + unit, status);
  } else {
    const i64 unit = row * hk + place - h - hk;
    i8* high = vq + unit * limbs * dh;
    quantise_row([&](int c) { return head[c]; }, dh, limbs, high, high + dh, vs + unit, status);
  }
}
