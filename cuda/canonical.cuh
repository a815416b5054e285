// Canonical arithmetic on the device: one IEEE rounding for each operation
// (docs/spec/arithmetic.md#elementwise-operations).
//
// Every .cu file here includes it. It compiles with nvcc and NVRTC (with --fmad=false) and, behind a header
// that supplies the CUDA words, with g++ (with -ffp-contract=off).
//
// What must hold
//   - Float code uses plus, minus, times, over and root below and nothing else: each is the `.rn` instruction,
//     which the compiler neither fuses nor approximates. Negation, comparison and bit patterns are exact.
//   - No flush to zero: the files are compiled without --use_fast_math and --ftz.
//   - A kernel that calls tree_sum, block_max or block_sum has one-dimensional blocks of THREADS threads, and
//     all of them reach the call.
#pragma once

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define THREADS 256  // threads of a block, unless a header says otherwise
#define WARP 32
#define WHOLE_WARP 0xffffffffu

// -- rule 1: single operations ----------------------------------------------------------------------------
__device__ __forceinline__ float plus(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float minus(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float over(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float root(float a) { return __fsqrt_rn(a); }

__device__ __forceinline__ int bits_of(float x) { return __float_as_int(x); }
__device__ __forceinline__ float from_bits(int b) { return __int_as_float(b); }
__device__ __forceinline__ u32 absolute_bits(float x) { return (u32)bits_of(x) & 0x7fffffffu; }
__device__ __forceinline__ bool is_finite(float x) { return absolute_bits(x) < 0x7f800000u; }

// Returns an unsigned integer that orders as x does, -0 below +0.
__device__ __forceinline__ u32 ordered_bits(float x) {
  u32 b = (u32)bits_of(x);
  return b & 0x80000000u ? ~b : b | 0x80000000u;
}
__device__ __forceinline__ float from_ordered_bits(u32 b) {
  return from_bits((int)(b & 0x80000000u ? b ^ 0x80000000u : ~b));
}

// -- rule 2: transcendental functions (proofcompute/arithmetic/definition/transcendental.py) ---------------
// Returns e^x for every x. |x log2 e| < 152, so the shifts below make normal factors.
__device__ __forceinline__ float canonical_exp(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  float shifted = plus(times(x, from_bits(0x3fb8aa3b)), from_bits(0x4b400000));
  float k = minus(shifted, from_bits(0x4b400000));
  // Unsigned: a NaN's bits may be anything, and wrap.
  int i = (int)((u32)bits_of(shifted) - 0x4b400000u);
  float r = minus(minus(x, times(k, from_bits(0x3f317200))), times(k, from_bits(0x35bfbe8e)));
  float p = plus(times(from_bits(0x3ab6be4f), r), from_bits(0x3c091d7f));
  p = plus(times(p, r), from_bits(0x3d2aaa5f));
  p = plus(times(p, r), from_bits(0x3e2aaa48));
  p = plus(times(p, r), from_bits(0x3f000000));
  float w = plus(times(times(r, r), p), r);
  int first = i >> 1;
  float one = from_bits((int)(((u32)first + 127u) << 23));
  float two = from_bits((int)(((u32)i - (u32)first + 127u) << 23));
  return times(times(plus(w, 1.0f), one), two);
}

// Returns the error function for every x.
__device__ __forceinline__ float canonical_erf(float x) {
  float t = from_bits(bits_of(x) & 0x7fffffff);
  float s = times(t, t);
  float p = plus(times(from_bits((int)0xba1e2f3e), s), from_bits(0x3ba3e364));
  p = plus(times(p, s), from_bits((int)0xbcdb5125));
  p = plus(times(p, s), from_bits(0x3de70df8));
  p = plus(times(p, s), from_bits((int)0xbec09377));
  p = plus(times(p, s), from_bits(0x3e0375d3));
  float near_zero = plus(t, times(t, p));
  float c = t > 4.0f ? 4.0f : t;
  p = plus(times(from_bits((int)0xb71d213e), c), from_bits(0x399f8fd2));
  p = plus(times(p, c), from_bits((int)0xbb69da0b));
  p = plus(times(p, c), from_bits(0x3cc163fc));
  p = plus(times(p, c), from_bits((int)0xbdd935cd));
  p = plus(times(p, c), from_bits((int)0xbf22a032));
  p = plus(times(p, c), from_bits((int)0xbe03b5b9));
  float far_out = minus(1.0f, canonical_exp(minus(times(c, p), c)));
  float value = t > 0.875f ? far_out : near_zero;
  return from_bits((bits_of(value) & 0x7fffffff) | (bits_of(x) & (int)0x80000000));
}

// Returns the hyperbolic tangent for every x.
__device__ __forceinline__ float canonical_tanh(float x) {
  float t = from_bits(bits_of(x) & 0x7fffffff);
  float s = times(t, t);
  float p = plus(times(from_bits((int)0xbbbb4efc), s), from_bits(0x3ca92994));
  p = plus(times(p, s), from_bits((int)0xbd5c21cd));
  p = plus(times(p, s), from_bits(0x3e0883b1));
  p = plus(times(p, s), from_bits((int)0xbeaaaa9a));
  float near_zero = plus(t, times(t, times(s, p)));
  float far_out = minus(1.0f, over(2.0f, plus(canonical_exp(plus(t, t)), 1.0f)));
  float value = t > 0.625f ? far_out : near_zero;
  return from_bits((bits_of(value) & 0x7fffffff) | (bits_of(x) & (int)0x80000000));
}

// -- rules 3 and 4: sums and maxima of a block -------------------------------------------------------------
#define STRIPS_LOG 16  // rows of up to THREADS << STRIPS_LOG = 2^24 elements

// Returns the halving tree of term(0) .. term(d - 1), 0 <= d <= 2^24, in every thread; 1 KiB of shared memory.
//
// Extended to a power of two, the tree adds elements whose indices differ by ever smaller powers of two. Down
// to a distance of THREADS both belong to one thread: it visits its elements in bit-reversed order, in which
// partners are neighbours, and merges equal levels as a binary counter carries (pending[] stays in
// registers). THREADS numbers are left, which are halved in shared memory down to a warp and then by shuffles.
template <typename Term>
__device__ __forceinline__ float tree_sum(const Term& term, i64 d) {
  __shared__ float level[THREADS];
  const int t = threadIdx.x;
  int log = 0;
  while (((i64)THREADS << log) < d) ++log;
  float pending[STRIPS_LOG];
  float v = 0.0f;
  for (u32 i = 0; i < 1u << log; ++i) {
    u32 strip = log ? __brev(i) >> (32 - log) : 0;
    i64 j = (i64)strip * THREADS + t;
    v = j < d ? term(j) : 0.0f;
#pragma unroll
    for (int l = 0; l < STRIPS_LOG; ++l) {
      // Bits 0 .. l - 1 of i are ones: merge if bit l is one as well, else leave v here.
      const u32 ones = (1u << l) - 1;
      if ((i & ones) == ones) {
        if (i >> l & 1)
          v = plus(pending[l], v);
        else
          pending[l] = v;
      }
    }
  }
  __syncthreads();  // the result of a call before this one has been read
  level[t] = v;
  __syncthreads();  // level is complete
  for (int h = THREADS / 2; h > WARP; h /= 2) {
    if (t < h) level[t] = plus(level[t], level[t + h]);
    __syncthreads();
  }
  if (t < WARP) {
    v = plus(level[t], level[t + WARP]);
    for (int h = WARP / 2; h > 0; h /= 2) v = plus(v, __shfl_xor_sync(WHOLE_WARP, v, h));
    if (t == 0) level[0] = plus(v, 0.0f);
  }
  __syncthreads();
  return level[0];
}

// Returns the largest v of a block, in every thread; 32 bytes of shared memory.
__device__ __forceinline__ u32 block_max(u32 v) {
  __shared__ u32 largest[THREADS / WARP];
  const int t = threadIdx.x;
  for (int h = WARP / 2; h > 0; h /= 2) {
    u32 other = __shfl_xor_sync(WHOLE_WARP, v, h);
    v = other > v ? other : v;
  }
  __syncthreads();  // the result of a call before this one has been read
  if (t % WARP == 0) largest[t / WARP] = v;
  __syncthreads();
  for (int i = 0; i < THREADS / WARP; ++i) v = largest[i] > v ? largest[i] : v;
  return v;
}

// Returns the sum of v over a block, modulo 2^64, in every thread; 64 bytes of shared memory.
__device__ __forceinline__ u64 block_sum(u64 v) {
  __shared__ u64 sums[THREADS / WARP];
  const int t = threadIdx.x;
  for (int h = WARP / 2; h > 0; h /= 2) v += __shfl_xor_sync(WHOLE_WARP, v, h);
  __syncthreads();  // the result of a call before this one has been read
  if (t % WARP == 0) sums[t / WARP] = v;
  __syncthreads();
  v = 0;
  for (int i = 0; i < THREADS / WARP; ++i) v += sums[i];
  return v;
}

// -- indices and words -------------------------------------------------------------------------------------
// First index and step of a grid-stride loop over a one-dimensional grid.
__device__ __forceinline__ i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 index_step() { return (i64)gridDim.x * blockDim.x; }

// Bytes k .. k + 3 of a row of d, 0 beyond it, first byte lowest. `aligned`: every row starts at a multiple
// of 4 bytes.
__device__ __forceinline__ int load4(const i8* row, int k, int d, bool aligned) {
  if (aligned && k + 4 <= d) return *(const int*)(row + k);
  u32 word = 0;
  for (int i = 0; i < 4; ++i)
    if (k + i < d) word |= (u32)(u8)row[k + i] << (8 * i);
  return (int)word;
}
