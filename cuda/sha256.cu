// sha256_rows, sha256_trees: SHA-256 (FIPS 180-4).
//
// sha256_rows   hashes head + row, for each row of each group.
//   heads [groups, front] bytes, ceil(front / 4) words apart
//   parts of group g: arrays [n, width_p] bytes, p < parts (message.cuh)
//   out   the 32 bytes of row t of group g at g * pitch + 32 t
//   One thread for each row. Launch: grid (any, groups) of HASHERS threads, grid-stride along x; 4096 bytes of shared
//   memory. Any alignment of parts (4-byte loads if all addresses and sizes allow).
//   Must hold: 1 <= parts <= 4, groups * parts <= 32, front + all widths < 2^31.
// sha256_trees  hashes prefix, left and right, for each pair of nodes, level by level (trees.cuh).
//   Launch: (ceil(n / 512), trees) blocks of THREADS threads; 18432 bytes of shared memory.
//   Must hold: in, out and pitches are multiples of 4; n >= 1; prefix is one byte.
//
// The message schedule stays in registers, since every index is a constant once the rounds are unrolled.
#include "canonical.cuh"

#include "message.cuh"
#include "trees.cuh"

__constant__ u32 SHA256_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

__constant__ u32 SHA256_START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

__device__ __forceinline__ u32 right(u32 x, int by) { return x >> by | x << (32 - by); }

__device__ void sha256_block(u32 (&state)[8], u32 (&w)[16]) {
  u32 a = state[0], b = state[1], c = state[2], d = state[3];
  u32 e = state[4], f = state[5], g = state[6], h = state[7];
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (i >= 16) {
      const u32 u = w[(i + 1) % 16], v = w[(i + 14) % 16];
      w[i % 16] += (right(u, 7) ^ right(u, 18) ^ u >> 3) + w[(i + 9) % 16] +
                   (right(v, 17) ^ right(v, 19) ^ v >> 10);
    }
    const u32 one = h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & f) ^ (~e & g)) + SHA256_K[i] +
                    w[i % 16];
    const u32 two = (right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + one;
    d = c;
    c = b;
    b = a;
    a = one + two;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

extern "C" __global__ void __launch_bounds__(HASHERS)
    sha256_rows(const u8* __restrict__ heads, int front, int parts, int width0, int width1, int width2, int width3,
                i64 n, u8* __restrict__ out, i64 pitch, EVERY_FROM(FROM)) {
  const int group = blockIdx.y, width[PARTS] = {width0, width1, width2, width3};
  const auto pick = [&](int p) -> const u8* {
    PICKED(group * parts + p)
  };
  for (i64 t = first_index(); t < n; t += index_step()) {
    const Message message = message_of(heads, front, parts, width, t, pick);
    u32 state[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) state[i] = SHA256_START[i];
    const int size = message.size(), blocks = size / 64 + (size % 64 < 56 ? 1 : 2);
#pragma unroll 1
    for (int b = 0; b < blocks; ++b) {
      u32 w[16];
      block_words<16, true>(message, 64 * b, 0x80, w);
      if (b + 1 == blocks) {  // the length in bits
        w[14] = (u32)size >> 29;
        w[15] = (u32)size << 3;
      }
      sha256_block(state, w);
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) out[group * pitch + 32 * t + i] = (u8)(state[i / 4] >> (24 - 8 * (i % 4)));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sha256_trees(const u8* in, i64 in_pitch, i64 n, int copy, u32 prefix, u8* out, i64 out_pitch) {
  grow_trees(in, in_pitch, n, copy, out, out_pitch, [&](const u32 (&children)[16], u32 (&digest)[8]) {
    u32 state[8], w[16];
#pragma unroll
    for (int i = 0; i < 8; ++i) state[i] = SHA256_START[i];
#pragma unroll
    for (int i = 0; i < 16; ++i) w[i] = shifted(children, prefix, i, 0x3456);
    sha256_block(state, w);
    // The last byte, the byte 0x80, and the length in bits.
    w[0] = (children[15] >> 24) << 24 | 0x800000;
#pragma unroll
    for (int i = 1; i < 15; ++i) w[i] = 0;
    w[15] = 8 * 65;
    sha256_block(state, w);
#pragma unroll
    for (int i = 0; i < 8; ++i) digest[i] = __byte_perm(state[i], 0, 0x0123);
  });
}
