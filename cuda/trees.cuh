// The levels of hash trees above their leaves, up to nine of them in one launch.
//
// A block takes up to 2 THREADS consecutive nodes of a level, hashes them in pairs, and goes on with the results; a
// lone last node of a level moves up unchanged. Blocks are independent: 2 THREADS is a power of two, so no pair
// straddles two blocks below the level on which a block has one node left.
//
//   in   n nodes of 8 words of each tree, in_pitch bytes from tree to tree
//   out  level after level, each from the left, out_pitch bytes from tree to tree; first a copy of `in` if `copy`
#pragma once

#define SPAN (2 * THREADS)
#define SPAN_LOG 9
#define NODE 8
#define APART 9  // words from node to node in shared memory

// node(children, digest) computes the digest of prefix + 16 words, whose byte order is that of memory.
template <typename Node>
__device__ __forceinline__ void grow_trees(const u8* in, i64 in_pitch, i64 n, int copy, u8* out, i64 out_pitch,
                                           const Node& node) {
  __shared__ u32 level[SPAN * APART];
  const int t = threadIdx.x;
  i64 first = (i64)blockIdx.x * SPAN;
  const u32* from = (const u32*)(in + blockIdx.y * in_pitch) + NODE * first;
  u32* to = (u32*)(out + blockIdx.y * out_pitch);
  int count = n - first < SPAN ? (int)(n - first) : SPAN;
  for (int i = t; i < NODE * count; i += THREADS) {
    const u32 word = from[i];
    level[i / NODE * APART + i % NODE] = word;
    if (copy) to[NODE * first + i] = word;
  }
  if (copy) to += NODE * n;
  __syncthreads();  // the level is whole
  for (int l = 0; l < SPAN_LOG && n > 1; ++l) {
    u32 digest[NODE] = {};
    if (t < count / 2) {
      u32 children[2 * NODE];
#pragma unroll
      for (int i = 0; i < 2 * NODE; ++i) children[i] = level[(2 * t + i / NODE) * APART + i % NODE];
      node(children, digest);
    } else if (2 * t + 1 == count) {
#pragma unroll
      for (int i = 0; i < NODE; ++i) digest[i] = level[2 * t * APART + i];
    }
    __syncthreads();  // all threads have read the level
    count = (count + 1) / 2;
    first /= 2;
    n = (n + 1) / 2;
    if (t < count) {
#pragma unroll
      for (int i = 0; i < NODE; ++i) {
        level[t * APART + i] = digest[i];
        to[NODE * (first + t) + i] = digest[i];
      }
    }
    to += NODE * n;
    __syncthreads();  // the level is whole
  }
}

// Bytes 4 i - 1 .. 4 i + 2 of the children as a word, the prefix standing before them.
__device__ __forceinline__ u32 shifted(const u32 (&children)[2 * NODE], u32 prefix, int i, u32 order) {
  return __byte_perm(i ? children[i - 1] : prefix << 24, children[i], order);
}
