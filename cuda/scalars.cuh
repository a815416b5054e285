// The scalar functions of expressions (docs/spec/primitives.md#scalar-functions;
// proofcompute/arithmetic/backends/scalar has the same in Python). A function without a result for some arguments
// gives any number there, and the kernel asks for it.
#pragma once
#include "canonical.cuh"

// -- numbers ------------------------------------------------------------------------------------------------
__device__ __forceinline__ bool is_nan(float x) { return absolute_bits(x) > 0x7f800000u; }
__device__ __forceinline__ float negative(float x) { return from_bits((int)((u32)bits_of(x) ^ 0x80000000u)); }
__device__ __forceinline__ float absolute(float x) { return from_bits((int)absolute_bits(x)); }
__device__ __forceinline__ float with_sign(float x, float of) {
  return from_bits((int)(absolute_bits(x) | ((u32)bits_of(of) & 0x80000000u)));
}
__device__ __forceinline__ float not_a_number() { return from_bits(0x7fc00000); }
__device__ __forceinline__ float infinity() { return from_bits(0x7f800000); }

__device__ __forceinline__ float greater(float x, float y) {
  const float chosen = ordered_bits(x) > ordered_bits(y) ? x : y;
  return is_nan(x) || is_nan(y) ? not_a_number() : chosen;
}
__device__ __forceinline__ float least_of(float x, float y) {
  const float chosen = ordered_bits(x) < ordered_bits(y) ? x : y;
  return is_nan(x) || is_nan(y) ? not_a_number() : chosen;
}

// Rounds to a whole number to nearest, ties to even; keeps the sign of a zero. Beyond 2^23 all numbers are whole.
__device__ __forceinline__ float round_even(float x) {
  const float size = absolute(x);
  const float whole = minus(plus(size, 8388608.0f), 8388608.0f);
  return size < 8388608.0f ? with_sign(whole, x) : x;
}
// Rounds towards zero.
__device__ __forceinline__ float truncated(float x) {
  const float size = absolute(x);
  const float near = round_even(size);
  const float whole = near > size ? minus(near, 1.0f) : near;
  return size < 8388608.0f ? with_sign(whole, x) : x;
}
__device__ __forceinline__ float round_down(float x) {
  const float whole = truncated(x);
  return with_sign(whole > x ? minus(whole, 1.0f) : whole, x);
}

// x, cut to low .. high, as an integer; NaN gives 0. `beyond` is 2^(bits - 1) or 2^bits, the first that is too large.
__device__ __forceinline__ i64 whole(float x, float least, float beyond, i64 low, i64 high) {
  const float cut = truncated(x);
  const bool inside = cut >= least && cut < beyond;
  const i64 value = __float2ll_rn(inside ? cut : 0.0f);
  return cut >= beyond ? high : cut < least ? low : value;
}
__device__ __forceinline__ i64 saturated(i64 x, i64 low, i64 high) { return x < low ? low : x > high ? high : x; }

// x - y q exactly, q being x / y rounded towards zero.
__device__ __forceinline__ float remainder_of(float x, float y) {
  const u32 bits = absolute_bits(x), divisor = absolute_bits(y);
  if (bits >= 0x7f800000u || divisor > 0x7f800000u || divisor == 0) return not_a_number();
  if (bits < divisor) return x;
  int high = (int)(bits >> 23), low = (int)(divisor >> 23);
  u64 m = (bits & 0x7fffffu) | (high ? 0x800000u : 0u);
  const u64 d = (divisor & 0x7fffffu) | (low ? 0x800000u : 0u);
  high = high ? high : 1;
  low = low ? low : 1;
  int apart = high - low;
  m %= d;
  while (apart > 0) {
    const int step = apart < 39 ? apart : 39;
    m = (m << step) % d;
    apart -= step;
  }
  const int k = low - 150, half = k >> 1;
  const float value = times(__ll2float_rn((i64)m), from_bits((half + 127) << 23));
  return with_sign(times(value, from_bits((k - half + 127) << 23)), x);
}

// -- integers: 64 bits, which wrap; whoever calls cuts the result ---------------------------------------------
__device__ __forceinline__ i64 sum(i64 x, i64 y) { return (i64)((u64)x + (u64)y); }
__device__ __forceinline__ i64 difference(i64 x, i64 y) { return (i64)((u64)x - (u64)y); }
__device__ __forceinline__ i64 multiplied(i64 x, i64 y) { return (i64)((u64)x * (u64)y); }
__device__ __forceinline__ i64 quotient(i64 x, i64 y) {
  return y == 0 || y == -1 ? difference(0, x) : x / y;
}
__device__ __forceinline__ i64 remainder_of(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
__device__ __forceinline__ i64 shifted_left(i64 x, i64 by, int bits) {
  return by >= 0 && by < bits ? (i64)((u64)x << by) : 0;
}
__device__ __forceinline__ i64 shifted_right(i64 x, i64 by, int bits) {
  return x >> (by >= 0 && by < bits ? by : bits - 1);
}
__device__ __forceinline__ i64 logical_shift(i64 x, i64 by, int bits) { return by >= 0 && by < bits ? x >> by : 0; }

// -- rule 2 -------------------------------------------------------------------------------------------------
__device__ __forceinline__ float step(float p, float x, int c) { return plus(times(p, x), from_bits(c)); }

// f and k with x = (1 + f) 2^k, for positive finite x.
__device__ __forceinline__ float mantissa(float x, float& k) {
  const bool small = x < from_bits(0x00800000);
  const int b = (int)((u32)bits_of(small ? times(x, 8388608.0f) : x) - 0x3f3504f3u);
  k = __int2float_rn((small ? -23 : 0) + (b >> 23));
  return minus(from_bits((b & 0x7fffff) + 0x3f3504f3), 1.0f);
}

__device__ __forceinline__ float canonical_log(float x) {
  const bool inside = x > 0.0f && x < infinity();
  float k;
  const float f = mantissa(inside ? x : 1.0f, k);
  const float s = over(f, plus(2.0f, f)), z = times(s, s);
  float p = step(from_bits(0x3e789f33), z, 0x3e91e9eb);
  p = step(step(p, z, 0x3ecccE13), z, 0x3f2aaaaa);
  const float rest = times(z, p), h = times(times(0.5f, f), f);
  float value = plus(times(s, plus(h, rest)), times(k, from_bits(0x35bfbe8e)));
  value = plus(plus(minus(value, h), f), times(k, from_bits(0x3f317200)));
  const float outside = x == 0.0f ? negative(infinity()) : x == infinity() ? infinity() : not_a_number();
  return inside ? value : outside;
}

__device__ __forceinline__ float canonical_atan(float x) {
  const float a = absolute(x);
  const bool steep = a > 1.0f;
  const float z = steep ? over(1.0f, a) : a, s = times(z, z);
  float p = step(from_bits((int)0xbae997e7), s, 0x3c3208d4);
  p = step(step(step(p, s, (int)0xbcfeb812), s, 0x3d6d1271), s, (int)0xbdac040b);
  p = step(step(step(step(p, s, 0x3de0460d), s, (int)0xbe121042), s, 0x3e4cc8f2), s, (int)0xbeaaaa9f);
  const float bend = times(z, times(s, p));
  const float large = minus(from_bits(0x3fc90fdb), plus(z, minus(bend, from_bits((int)0xb33bbd2e))));
  return with_sign(steep ? large : plus(z, bend), x);
}

// fl(a + b) and its error; fl(a b) and its error.
__device__ __forceinline__ float two_sum(float a, float b, float& e) {
  const float s = plus(a, b), v = minus(s, a);
  e = plus(minus(a, minus(s, v)), minus(b, v));
  return s;
}
__device__ __forceinline__ float two_product(float a, float b, float& e) {
  const float p = times(a, b), c = times(4097.0f, a), d = times(4097.0f, b);
  const float ah = minus(c, minus(c, a)), bh = minus(d, minus(d, b));
  const float al = minus(a, ah), bl = minus(b, bh);
  e = plus(plus(plus(minus(times(ah, bh), p), times(ah, bl)), times(al, bh)), times(al, bl));
  return p;
}

__device__ __forceinline__ bool outside_circle(float x) { return !(absolute(x) <= 1048576.0f); }

// Sine and cosine of the remainder of x by pi/2; returns the quadrant.
__device__ __forceinline__ int circle(float x, float& sine, float& cosine) {
  x = outside_circle(x) ? 0.0f : x;
  const float k = round_even(times(x, from_bits(0x3f22f983)));
  const float u = times(round_even(times(k, from_bits(0x3a800000))), 1024.0f), v = minus(k, u);
  const int pieces[6] = {0x3fc91000, (int)0xb6957800, 0x2e85a400, (int)0xa6f72c00, (int)0x9eece800, 0x17451800};
  float h = x, low = 0.0f, e;
#pragma unroll
  for (int i = 0; i < 6; ++i) {
    h = two_sum(h, negative(times(u, from_bits(pieces[i]))), e);
    low = plus(low, e);
    h = two_sum(h, negative(times(v, from_bits(pieces[i]))), e);
    low = plus(low, e);
  }
  h = two_sum(h, low, low);
  const float s = times(h, h);
  const float bend = times(s, step(step(from_bits((int)0xb94c46cf), s, 0x3c088291), s, (int)0xbe2aaaa0));
  sine = plus(h, plus(times(h, bend), low));
  const float q = times(0.5f, s), w = minus(1.0f, q);
  const float curve = times(times(s, s), step(step(from_bits(0x37cc9c5b), s, (int)0xbab604dd), s, 0x3d2aaaa3));
  cosine = plus(w, plus(minus(minus(1.0f, w), q), minus(curve, times(h, low))));
  return __float2int_rn(k) & 3;
}
__device__ __forceinline__ float canonical_sin(float x) {
  float sine, cosine;
  const int quadrant = circle(x, sine, cosine);
  const float value = quadrant & 1 ? cosine : sine;
  return quadrant & 2 ? negative(value) : value;
}
__device__ __forceinline__ float canonical_cos(float x) {
  float sine, cosine;
  const int quadrant = circle(x, sine, cosine);
  const float value = quadrant & 1 ? sine : cosine;
  return (quadrant + 1) & 2 ? negative(value) : value;
}

// log2 of positive finite x as h + low.
__device__ __forceinline__ float log2_pair(float x, float& low) {
  float k, e, dl;
  const float f = mantissa(x, k);
  const float d = two_sum(2.0f, f, dl), s = over(f, d);
  const float q = two_product(s, d, e);
  const float sl = over(minus(minus(minus(f, q), e), times(s, dl)), d);
  const float z = two_product(s, s, e);
  const float zl = plus(e, times(plus(s, s), sl));
  float p = step(from_bits(0x3e484538), z, 0x3e631ec2);
  p = step(step(p, z, 0x3e9249db), z, 0x3ecccccc);
  const float a = two_sum(from_bits(0x3f2aaaab), times(z, p), e);
  const float al = plus(e, from_bits((int)0xb2aaaaab));
  const float w = two_product(z, a, e);
  const float wl = plus(e, plus(times(z, al), times(zl, a)));
  const float c = two_sum(2.0f, w, e);
  const float cl = plus(e, wl);
  const float g = two_product(s, c, e);
  const float gl = plus(e, plus(times(s, cl), times(sl, c)));
  const float m = two_product(g, from_bits(0x3fb8aa3b), e);
  const float ml = plus(e, plus(times(g, from_bits(0x32a57060)), times(gl, from_bits(0x3fb8aa3b))));
  const float h = two_sum(k, m, e);
  low = plus(e, ml);
  return h;
}

__device__ __forceinline__ float canonical_pow(float x, float y) {
  const float size = absolute(x);
  const bool inside = size > 0.0f && size < infinity();
  float low, e, a;
  const float h = log2_pair(inside ? size : 1.0f, low);
  float cut = y > 2147483648.0f ? 2147483648.0f : y;
  cut = cut < -2147483648.0f ? -2147483648.0f : cut;
  float u = two_product(h, cut, e);
  float ul = plus(e, times(low, cut));
  const bool inner = u > -151.0f && u < 129.0f;
  u = inner ? u : u >= 129.0f ? 129.0f : -151.0f;
  ul = inner ? ul : 0.0f;
  const float k = round_even(u);
  const float r = two_sum(minus(u, k), ul, e);
  const float g = two_product(r, from_bits(0x3f317218), a);
  const float gl = plus(a, plus(times(r, from_bits((int)0xb102e308)), times(e, from_bits(0x3f317218))));
  float p = step(from_bits(0x3ab6be4f), g, 0x3c091d7f);
  p = step(step(step(p, g, 0x3d2aaa5f), g, 0x3e2aaa48), g, 0x3f000000);
  const float v = plus(1.0f, plus(g, plus(gl, times(times(g, g), p))));
  const int i = __float2int_rn(k), first = i >> 1;
  float value = times(times(v, from_bits((first + 127) << 23)), from_bits((i - first + 127) << 23));
  value = inside ? value : (size == 0.0f) == (y > 0.0f) ? 0.0f : infinity();
  const bool is_whole = round_even(y) == y;
  const float half = times(y, 0.5f);
  const bool odd = is_whole && absolute(y) < 16777216.0f && round_even(half) != half;
  value = odd && bits_of(x) < 0 ? negative(value) : value;
  value = x < 0.0f && inside && !is_whole ? not_a_number() : value;
  value = is_nan(x) || is_nan(y) ? not_a_number() : value;
  return y == 0.0f || x == 1.0f ? 1.0f : value;
}
