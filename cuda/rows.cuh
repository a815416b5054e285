// Operations on rows, for one element each, shared by the kernels that fuse them.
#pragma once

// RMS norm: x / sqrt(tree(x x) / d + eps) * w; `divisor` is the root, in every thread of a block.
__device__ __forceinline__ float rms_root(const float* x, int d, float eps) {
  const float sum = tree_sum([&](i64 j) { return times(x[j], x[j]); }, d);
  return root(plus(over(sum, __int2float_rn(d)), eps));
}
__device__ __forceinline__ float normed(float x, float divisor, float w) {
  return times(over(x, divisor), w);
}

// Gate: g / (1 + exp(-g)) * u.
__device__ __forceinline__ float gated(float g, float u) {
  return times(over(g, plus(1.0f, canonical_exp(-g))), u);
}

// Element c of a head of dh elements after the rotation of its first 2 r: (a cos - b sin, a sin + b cos).
__device__ __forceinline__ float rotated(const float* head, int c, int r, bool interleaved,
                                         const float* cosine, const float* sine) {
  if (c >= 2 * r) return head[c];
  const int pair = interleaved ? c / 2 : c % r;
  const bool second = interleaved ? c % 2 == 1 : c >= r;
  const int apart = interleaved ? 1 : r;
  const float a = second ? head[c - apart] : head[c], b = second ? head[c] : head[c + apart];
  return second ? plus(times(a, sine[pair]), times(b, cosine[pair]))
                : minus(times(a, cosine[pair]), times(b, sine[pair]));
}

// Quantises a row term(0) .. term(d - 1) to one or two int8 limbs and a scale, by a block
// (docs/spec/arithmetic.md#quantising).
// Terms are evaluated twice. status is set to 1 if one is NaN or infinite.
template <typename Term>
__device__ __forceinline__ void quantise_row(const Term& term, int d, int limbs, i8* high, i8* low, float* scale,
                                             int* status) {
  u32 top = 0;
  for (int j = threadIdx.x; j < d; j += THREADS) {
    const u32 b = absolute_bits(term(j));
    top = b > top ? b : top;
  }
  top = block_max(top);
  const float a = from_bits((int)top);
  const float most = limbs == 2 ? 32639.0f : 127.0f;
  const float ratio = over(most, a);
  const bool usable = is_finite(ratio);
  const float r = usable ? ratio : 0.0f;
  if (threadIdx.x == 0) {
    *scale = usable ? over(a, most) : 0.0f;
    if (top >= 0x7f800000u) atomicOr(status, 1);
  }
  if (top >= 0x7f800000u) return;
  for (int j = threadIdx.x; j < d; j += THREADS) {
    const int whole = __float2int_rn(times(term(j), r));
    if (limbs == 1) {
      high[j] = (i8)whole;
    } else {
      const int upper = (whole + 128) >> 8;
      high[j] = (i8)upper;
      low[j] = (i8)(whole - 256 * upper);
    }
  }
}
