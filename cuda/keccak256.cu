// keccak256_rows, keccak256_trees: Keccak-256 with the original padding byte 0x01 (not SHA3-256).
//
// Launch, arguments and what must hold: as for sha256_rows (here with 8704 bytes of shared memory) and sha256_trees
// (sha256.cu).
//
// Rate 136 bytes, 24 rounds of keccak-f[1600] (FIPS 202, section 3); a round is unrolled, so that the 25 lanes stay in
// registers.
#include "canonical.cuh"

#include "message.cuh"
#include "trees.cuh"

#define RATE 136

__constant__ u64 KECCAK_ROUND[24] = {
    0x0000000000000001ull, 0x0000000000008082ull, 0x800000000000808aull, 0x8000000080008000ull,
    0x000000000000808bull, 0x0000000080000001ull, 0x8000000080008081ull, 0x8000000000008009ull,
    0x000000000000008aull, 0x0000000000000088ull, 0x0000000080008009ull, 0x000000008000000aull,
    0x000000008000808bull, 0x800000000000008bull, 0x8000000000008089ull, 0x8000000000008003ull,
    0x8000000000008002ull, 0x8000000000000080ull, 0x000000000000800aull, 0x800000008000000aull,
    0x8000000080008081ull, 0x8000000000008080ull, 0x0000000080000001ull, 0x8000000080008008ull};

__device__ __forceinline__ u64 left(u64 x, int by) { return by ? x << by | x >> (64 - by) : x; }

__device__ void keccak_f(u64 (&a)[25]) {
  // rho and pi in one cycle: lane 1's value, rotated, goes to lane 10, lane 10's to lane 7, and so on.
  constexpr int next[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
#pragma unroll 1
  for (int round = 0; round < 24; ++round) {
    u64 c[5];
#pragma unroll
    for (int x = 0; x < 5; ++x) c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
#pragma unroll
    for (int i = 0; i < 25; ++i) a[i] ^= c[(i + 4) % 5] ^ left(c[(i + 1) % 5], 1);
    u64 moving = a[1];
#pragma unroll
    for (int i = 0; i < 24; ++i) {
      const u64 there = a[next[i]];
      a[next[i]] = left(moving, (i + 1) * (i + 2) / 2 % 64);
      moving = there;
    }
#pragma unroll
    for (int y = 0; y < 25; y += 5) {
      const u64 first = a[y], second = a[y + 1];
      a[y] ^= ~second & a[y + 2];
      a[y + 1] ^= ~a[y + 2] & a[y + 3];
      a[y + 2] ^= ~a[y + 3] & a[y + 4];
      a[y + 3] ^= ~a[y + 4] & first;
      a[y + 4] ^= ~first & second;
    }
    a[0] ^= KECCAK_ROUND[round];
  }
}

extern "C" __global__ void __launch_bounds__(HASHERS)
    keccak256_rows(const u8* __restrict__ heads, int front, int parts, int width0, int width1, int width2, int width3,
                   i64 n, u8* __restrict__ out, i64 pitch, EVERY_FROM(FROM)) {
  const int group = blockIdx.y, width[PARTS] = {width0, width1, width2, width3};
  const auto pick = [&](int p) -> const u8* {
    PICKED(group * parts + p)
  };
  for (i64 t = first_index(); t < n; t += index_step()) {
    const Message message = message_of(heads, front, parts, width, t, pick);
    u64 a[25] = {};
    const int blocks = message.size() / RATE + 1;
#pragma unroll 1
    for (int b = 0; b < blocks; ++b) {
      u32 w[RATE / 4];
      block_words<RATE / 4, false>(message, RATE * b, 0x01, w);
#pragma unroll
      for (int i = 0; i < RATE / 8; ++i) a[i] ^= (u64)w[2 * i + 1] << 32 | w[2 * i];
      if (b + 1 == blocks) a[RATE / 8 - 1] ^= 1ull << 63;
      keccak_f(a);
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) out[group * pitch + 32 * t + i] = (u8)(a[i / 8] >> (8 * (i % 8)));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    keccak256_trees(const u8* in, i64 in_pitch, i64 n, int copy, u32 prefix, u8* out, i64 out_pitch) {
  grow_trees(in, in_pitch, n, copy, out, out_pitch, [&](const u32 (&children)[16], u32 (&digest)[8]) {
    u64 a[25] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      a[i] = (u64)shifted(children, prefix, 2 * i + 1, 0x6543) << 32 | shifted(children, prefix, 2 * i, 0x6543);
    a[8] = children[15] >> 24 | 0x0100;  // the last byte and the padding
    a[RATE / 8 - 1] = 1ull << 63;
    keccak_f(a);
#pragma unroll
    for (int i = 0; i < 8; ++i) digest[i] = (u32)(a[i / 2] >> (32 * (i % 2)));
  });
}
