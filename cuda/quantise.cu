// quantise_rows, quantise_normed, quantise_gated, quantise_heads: rows of binary32 to one or two int8 limbs and a
// scale (docs/spec/arithmetic.md#quantising), as they are, after an RMS norm, after a gate, or in two parts.
//
//   x      [n, d] float32; for quantise_gated [n, 2 d], g first and u second
//   weight [d] float32, of the norm
//   q      [limbs, n, d] int8, high limb first       scale [n] float32
//   status one int32; set to 1 if an element is NaN or infinite, else left alone (q and scale then mean nothing)
//
// a = max |x|, r = Q / a, q = rint(x r), s = a / Q with Q = 127 or 32639; if r is not finite, q = 0 and
// s = +0.
//
// quantise_heads takes heads as rows, [n * heads, d], and writes q [n * heads, limbs, d]. If latent > 0, the first
// `latent` columns and the others, at least one, are quantised apart, by two blocks: scale is [n * heads, 2].
//
// Launch: n blocks of THREADS threads; 32 bytes of shared memory (quantise_normed: 1056); no alignment.
// Must hold: limbs is 1 or 2, 0 <= d <= 2^24, n >= 1.
#include "canonical.cuh"

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_rows(const float* __restrict__ x, i64 n, int d, int limbs, i8* __restrict__ q,
                  float* __restrict__ scale, int* __restrict__ status) {
  const i64 row = blockIdx.x;
  const float* from = x + row * d;
  quantise_row([&](int j) { return from[j]; }, d, limbs, q + row * d, q + (n + row) * d, scale + row, status);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_normed(const float* __restrict__ x, const float* __restrict__ weight, float eps, i64 n, int d,
                    int limbs, i8* __restrict__ q, float* __restrict__ scale, int* __restrict__ status) {
  const i64 row = blockIdx.x;
  const float* from = x + row * d;
  const float divisor = rms_root(from, d, eps);
  quantise_row([&](int j) { return normed(from[j], divisor, weight[j]); }, d, limbs, q + row * d,
               q + (n + row) * d, scale + row, status);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_gated(const float* __restrict__ x, i64 n, int d, int limbs, i8* __restrict__ q,
                   float* __restrict__ scale, int* __restrict__ status) {
  const i64 row = blockIdx.x;
  const float* from = x + row * 2 * d;
  quantise_row([&](int j) { return gated(from[j], from[d + j]); }, d, limbs, q + row * d, q + (n + row) * d,
               scale + row, status);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_heads(const float* __restrict__ x, int d, int limbs, int latent, i8* __restrict__ q,
                   float* __restrict__ scale, int* __restrict__ status) {
  const i64 row = latent ? blockIdx.x / 2 : blockIdx.x;
  const int a = latent && blockIdx.x % 2 ? latent : 0, b = latent && !a ? latent : d;
  const float* from = x + row * d + a;
  i8* high = q + row * limbs * d + a;
  quantise_row([&](int j) { return from[j]; }, b - a, limbs, high, high + d, scale + blockIdx.x, status);
}
