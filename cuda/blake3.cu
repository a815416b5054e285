// blake3_chunks, blake3_parents, blake3_trees: BLAKE3 (hash mode, 32 bytes).
//
// They hash head + row for each row of each group, as sha256_rows does (sha256.cu), in two launches:
//   values [groups, n, chunks, 8] uint32, chunks = max(1, ceil(size / 1024))
//
// blake3_chunks   the chaining value of every chunk of 1024 bytes; the root's, if there is only one chunk.
//                 One thread for each chunk: a wide row is hashed by many threads. Grid (any, groups) of HASHERS
//                 threads, grid-stride along x; 4096 bytes of shared memory.
// blake3_parents  hashes pairs of chaining values, level by level, and moves an odd one up unchanged: the left-full
//                 tree of the specification. It writes the digest and overwrites `values`. One thread for each
//                 row. Grid (any, groups) of HASHERS threads, grid-stride along x.
// blake3_trees    as sha256_trees.
//
// Source: "BLAKE3: one function, fast everywhere" (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), section 2.
#include "canonical.cuh"

#include "message.cuh"
#include "trees.cuh"

#define CHUNK_START 1u
#define CHUNK_END 2u
#define PARENT 4u
#define ROOT 8u

__constant__ u32 BLAKE3_IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

__device__ __forceinline__ u32 turned(u32 x, int by) { return x >> by | x << (32 - by); }

__device__ __forceinline__ void mix(u32& a, u32& b, u32& c, u32& d, u32 x, u32 y) {
  a += b + x;
  d = turned(d ^ a, 16);
  c += d;
  b = turned(b ^ c, 12);
  a += b + y;
  d = turned(d ^ a, 8);
  c += d;
  b = turned(b ^ c, 7);
}

// value = the chaining value of a block of 16 words.
__device__ void compress(u32 (&value)[8], u32 (&w)[16], u64 counter, u32 size, u32 flags) {
  u32 v[16];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = value[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) v[8 + i] = BLAKE3_IV[i];
  v[12] = (u32)counter;
  v[13] = (u32)(counter >> 32);
  v[14] = size;
  v[15] = flags;
#pragma unroll
  for (int round = 0; round < 7; ++round) {
#pragma unroll
    for (int i = 0; i < 4; ++i) mix(v[i], v[4 + i], v[8 + i], v[12 + i], w[2 * i], w[2 * i + 1]);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      mix(v[i], v[4 + (i + 1) % 4], v[8 + (i + 2) % 4], v[12 + (i + 3) % 4], w[8 + 2 * i], w[9 + 2 * i]);
    constexpr int order[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    u32 next[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) next[i] = w[order[i]];
#pragma unroll
    for (int i = 0; i < 16; ++i) w[i] = next[i];
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] = v[i] ^ v[8 + i];
}

__device__ __forceinline__ void begin(u32 (&value)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) value[i] = BLAKE3_IV[i];
}

extern "C" __global__ void __launch_bounds__(HASHERS)
    blake3_chunks(const u8* __restrict__ heads, int front, int parts, int width0, int width1, int width2, int width3,
                  i64 n, i64 chunks, u32* __restrict__ values, EVERY_FROM(FROM)) {
  const int group = blockIdx.y, width[PARTS] = {width0, width1, width2, width3};
  const auto pick = [&](int p) -> const u8* {
    PICKED(group * parts + p)
  };
  for (i64 e = first_index(); e < n * chunks; e += index_step()) {
    const int chunk = (int)(e % chunks);
    const Message message = message_of(heads, front, parts, width, e / chunks, pick);
    const int left = message.size() - 1024 * chunk, size = left < 1024 ? left : 1024;
    const int blocks = size > 0 ? (size + 63) / 64 : 1;
    u32 value[8];
    begin(value);
#pragma unroll 1
    for (int b = 0; b < blocks; ++b) {
      u32 w[16];
      block_words<16, false>(message, 1024 * chunk + 64 * b, 0, w);
      u32 flags = b == 0 ? CHUNK_START : 0;
      if (b + 1 == blocks) flags |= chunks == 1 ? CHUNK_END | ROOT : CHUNK_END;
      compress(value, w, (u64)chunk, (u32)(b + 1 == blocks ? size - 64 * b : 64), flags);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) values[8 * (group * n * chunks + e) + i] = value[i];
  }
}

extern "C" __global__ void __launch_bounds__(HASHERS, 1)
    blake3_parents(u32* __restrict__ values, i64 n, i64 chunks, u8* __restrict__ out, i64 pitch) {
  for (i64 t = first_index(); t < n; t += index_step()) {
    u32* row = values + 8 * chunks * (blockIdx.y * n + t);
    for (i64 count = chunks; count > 1; count = (count + 1) / 2) {
      for (i64 i = 0; 2 * i < count; ++i) {
        u32 value[8], w[16];
        if (2 * i + 1 == count) {
          for (int j = 0; j < 8; ++j) row[8 * i + j] = row[16 * i + j];
          continue;
        }
#pragma unroll
        for (int j = 0; j < 16; ++j) w[j] = row[16 * i + j];
        begin(value);
        compress(value, w, 0, 64, count == 2 ? PARENT | ROOT : PARENT);
#pragma unroll
        for (int j = 0; j < 8; ++j) row[8 * i + j] = value[j];
      }
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) out[blockIdx.y * pitch + 32 * t + i] = (u8)(row[i / 4] >> (8 * (i % 4)));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    blake3_trees(const u8* in, i64 in_pitch, i64 n, int copy, u32 prefix, u8* out, i64 out_pitch) {
  grow_trees(in, in_pitch, n, copy, out, out_pitch, [&](const u32 (&children)[16], u32 (&digest)[8]) {
    u32 w[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) w[i] = shifted(children, prefix, i, 0x6543);
    begin(digest);
    compress(digest, w, 0, 64, CHUNK_START);
    w[0] = children[15] >> 24;  // the last byte
#pragma unroll
    for (int i = 1; i < 16; ++i) w[i] = 0;
    compress(digest, w, 0, 1, CHUNK_END | ROOT);
  });
}
