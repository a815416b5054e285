// quantise_rows: rows of binary32 to one or two int8 limbs and a scale (design, section 3, rule 5).
//
//   x      [n, d] float32           q  [limbs, n, d] int8, high limb first       scale [n] float32
//   status one int32; set to 1 if an element is NaN or infinite, else left alone (q and scale then mean nothing)
//
// a = max |x|, r = Q / a, q = rint(x r), s = a / Q with Q = 127 or 32639; where r is not finite, q = 0 and
// s = +0. Heads are rows: [n, heads * dh] is passed as [n * heads, dh].
//
// Launch: n blocks of THREADS threads; 32 bytes of shared memory; no alignment.
// Must hold: limbs is 1 or 2, 0 <= d <= 2^24, n >= 1.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_rows(const float* __restrict__ x, i64 n, int d, int limbs, i8* __restrict__ q,
                  float* __restrict__ scale, int* __restrict__ status) {
  const i64 row = blockIdx.x;
  const float* from = x + row * d;
  u32 top = 0;
  for (int j = threadIdx.x; j < d; j += THREADS) {
    u32 b = absolute_bits(from[j]);
    top = b > top ? b : top;
  }
  top = block_max(top);
  const float a = from_bits((int)top);
  const float most = limbs == 2 ? 32639.0f : 127.0f;
  const float ratio = over(most, a);
  const bool usable = is_finite(ratio);
  const float r = usable ? ratio : 0.0f;
  if (threadIdx.x == 0) {
    scale[row] = usable ? over(a, most) : 0.0f;
    if (top >= 0x7f800000u) atomicOr(status, 1);
  }
  if (top >= 0x7f800000u) return;
  i8* high = q + row * d;
  i8* low = high + n * d;
  for (int j = threadIdx.x; j < d; j += THREADS) {
    int whole = __float2int_rn(times(from[j], r));
    if (limbs == 1) {
      high[j] = (i8)whole;
    } else {
      int upper = (whole + 128) >> 8;
      high[j] = (i8)upper;
      low[j] = (i8)(whole - 256 * upper);
    }
  }
}
