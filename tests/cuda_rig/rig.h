// CUDA's words for g++: what the .cu files use, and nothing else, with the meaning of one block at a time.
//
// The threads of a block are fibers on one thread of the system. Each runs until it waits at a barrier or in a
// warp operation; which runs next is the launch's `order` (rig.cpp), so that a result that depends on the
// order of threads shows. Blocks run one after the other, in that order too. Built with -fsanitize=thread,
// fibers are threads to ThreadSanitizer, and nothing but barriers orders them.
//
// Shared variables are static, so that AddressSanitizer guards their ends; they keep what the block before
// left in them, as on a device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __constant__ static const

struct alignas(16) int4 {
  int x, y, z, w;
};
// A load that need not stay in the cache.
inline int4 __ldcs(const int4* at) { return *at; }

struct rig_index {
  unsigned x, y, z;
};
extern rig_index threadIdx, blockIdx, blockDim, gridDim;

#define RIG_TEXT_(x) #x
#define RIG_TEXT(x) RIG_TEXT_(x)
#define RIG_PLACE __FILE__ ":" RIG_TEXT(__LINE__)

// Waits for every thread of the block; all must come to the same place.
void rig_barrier(const char* place);
// Waits for the lanes of `mask`; then `all` holds what each of them gave (at most 32 bytes a lane).
struct rig_lanes {
  alignas(16) unsigned char bytes[32][32];
};
const rig_lanes& rig_exchange(unsigned mask, const void* mine, unsigned size, const char* place);
unsigned rig_lane();

#define __syncthreads() rig_barrier(RIG_PLACE)

template <typename T>
T rig_shuffle_xor(unsigned mask, T mine, int lanes, const char* place) {
  T theirs;
  const rig_lanes& all = rig_exchange(mask, &mine, sizeof mine, place);
  std::memcpy(&theirs, all.bytes[rig_lane() ^ (unsigned)lanes], sizeof theirs);
  return theirs;
}
#define __shfl_xor_sync(mask, mine, lanes) rig_shuffle_xor(mask, mine, lanes, RIG_PLACE)

// -- arithmetic: one rounding each; -ffp-contract=off keeps it so -----------------------------------------
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float __int2float_rn(int x) { return (float)x; }
inline float __ll2float_rn(long long x) { return (float)x; }
// cvt.rni saturates and turns NaN into 0 (int) or the least integer (long long).
inline int __float2int_rn(float x) {
  if (std::isnan(x)) return 0;
  x = std::nearbyint(x);
  return x >= 2147483648.0f ? INT32_MAX : x < -2147483648.0f ? INT32_MIN : (int)x;
}
inline long long __float2ll_rn(float x) {
  if (std::isnan(x)) return INT64_MIN;
  x = std::nearbyint(x);
  return x >= 9223372036854775808.0f ? INT64_MAX : x < -9223372036854775808.0f ? INT64_MIN : (long long)x;
}
inline unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}
// Byte i is the byte of y : x that the three low bits of the selector's digit i name.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned chosen = 0;
  for (int i = 0; i < 4; ++i) chosen |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return chosen;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __dp4a(int a, int b, int c) {
  unsigned sum = (unsigned)c;
  for (int i = 0; i < 4; ++i) sum += (unsigned)((int)(signed char)(a >> 8 * i) * (int)(signed char)(b >> 8 * i));
  return (int)sum;
}

// -- atomics: fibers give way nowhere but at barriers and warp operations ----------------------------------
// Relaxed, as CUDA's: they order nothing around them, and ThreadSanitizer knows it.
inline int atomicOr(int* at, int x) { return __atomic_fetch_or(at, x, __ATOMIC_RELAXED); }
inline unsigned atomicOr(unsigned* at, unsigned x) { return __atomic_fetch_or(at, x, __ATOMIC_RELAXED); }
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long x) {
  return __atomic_fetch_add(at, x, __ATOMIC_RELAXED);
}
inline unsigned long long atomicMax(unsigned long long* at, unsigned long long x) {
  unsigned long long old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (old < x && !__atomic_compare_exchange_n(at, &old, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

// -- the tensor core: D = A B + C by the element positions of PTX ISA, mma.m16n8k32 with .s8 ---------------
// Written from the tables' formulas for one element, the other way round than cuda/mma.cuh: where in the
// fragments does element (row, column) live?
inline void rig_mma_16x8x32(int (&c)[4], const int (&a)[4], const int (&b)[2], const char* place) {
  struct Mine {
    int a[4], b[2];
  } mine;
  std::memcpy(mine.a, a, sizeof mine.a);
  std::memcpy(mine.b, b, sizeof mine.b);
  const rig_lanes& all = rig_exchange(0xffffffffu, &mine, sizeof mine, place);
  auto given = [&](int lane) { return reinterpret_cast<const Mine*>(all.bytes[lane]); };
  // Four elements of a row of a (16 x 32), or of a column of b (32 x 8), from k, a multiple of 4: one word.
  auto word_a = [&](int row, int k) { return given(row % 8 * 4 + k % 16 / 4)->a[row / 8 + k / 16 * 2]; };
  auto word_b = [&](int k, int column) { return given(column * 4 + k % 16 / 4)->b[k / 16]; };
  const int lane = (int)rig_lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 32; k += 4) c[i] = __dp4a(word_a(row, k), word_b(k, column), c[i]);
  }
}
#define mma_16x8x32(c, a, b) rig_mma_16x8x32(c, a, b, RIG_PLACE)

// -- kernels by name -----------------------------------------------------------------------------------------
using rig_entry = void (*)(void** arguments);
void rig_register(const char* name, rig_entry entry, unsigned count, const unsigned* sizes);

template <auto kernel>
struct rig_kernel;
template <typename... A, void (*kernel)(A...)>
struct rig_kernel<kernel> {
  template <std::size_t... I>
  static void call(void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
  }
  static void enter(void** arguments) { call(arguments, std::index_sequence_for<A...>()); }
  explicit rig_kernel(const char* name) {
    static const unsigned sizes[] = {
        (unsigned)sizeof(A) + (std::is_const_v<std::remove_pointer_t<A>> ? 128u : 0u)...};
    rig_register(name, enter, sizeof...(A), sizes);
  }
};
#define RIG_KERNEL(name) static const rig_kernel<name> rig_##name(#name);
