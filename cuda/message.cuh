// A message to hash: a head, which is the same for all rows of a tree, then one row, which may consist of up to four
// parts in arrays of their own. Blocks of the message are read as words.
//
// A block that lies in one part of whole aligned words takes one load and one permutation of bytes for each word. In
// the head, at the end and between two parts, words are gathered in shared memory first, some of them byte by byte.
#pragma once

#define HASHERS 64  // threads of a block that hashes rows: one warp for each scheduler, so that few rows spread out
#define PARTS 4
#define SLOTS 32  // parts of all groups of a launch

// The parts of groups, as a kernel takes them: part p of group g is from(g * parts + p).
#define FROM(i) const u8 *__restrict__ from##i
#define PICK(i) \
  case i:       \
    return from##i;
#define EVERY_FROM(f)                                                                                             \
  f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15), f(16),    \
      f(17), f(18), f(19), f(20), f(21), f(22), f(23), f(24), f(25), f(26), f(27), f(28), f(29), f(30), f(31)
#define EVERY_PICK(f)                                                                                           \
  f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15) f(16) f(17) f(18) f(19) \
      f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define PICKED(i)      \
  switch (i) {         \
    EVERY_PICK(PICK)   \
    default:           \
      return nullptr;  \
  }

struct Message {
  const u8* part[PARTS + 1];  // the head, and the parts of the row
  int start[PARTS + 2];       // offsets in the message at which each of these begins, and at which the message ends
  u32 words;                  // bit p: words of part p may be read at multiples of four bytes

  __device__ __forceinline__ int size() const { return start[PARTS + 1]; }

  // Byte i; `pad` right behind the end, and then 0.
  __device__ __forceinline__ u32 at(int i, u32 pad) const {
    if (i >= size()) return i == size() ? pad : 0;
    const u8* from = part[0];
    int first = 0;
#pragma unroll
    for (int p = 1; p <= PARTS; ++p)
      if (i >= start[p]) from = part[p], first = start[p];
    return from[i - first];
  }

  // Address of bytes i .. i + count - 1 if they lie in one part of whole words, else null; count is a multiple of 4.
  __device__ __forceinline__ const u8* inside(int i, int count) const {
    const u8* found = nullptr;
#pragma unroll
    for (int p = 0; p <= PARTS; ++p)
      if (words >> p & 1 && i >= start[p] && i + count <= start[p + 1]) found = part[p] + (i - start[p]);
    return found;
  }
};

// Row t of a group of `parts` parts behind its head; pick(p) is the start of part p, widths are 0 beyond the parts.
// Heads are a multiple of four bytes apart.
template <typename Pick>
__device__ __forceinline__ Message message_of(const u8* heads, int front, int parts, const int (&width)[PARTS],
                                              i64 t, const Pick& pick) {
  Message m = {};
  m.part[0] = heads + (i64)blockIdx.y * ((front + 3) / 4 * 4);
  m.words = (u64)heads % 4 == 0;  // bytes behind the head's last whole word are read one by one
  m.start[1] = front;
#pragma unroll
  for (int p = 0; p < PARTS; ++p) {
    const u8* from = p < parts ? pick(p) : nullptr;
    m.part[p + 1] = from ? from + t * width[p] : nullptr;
    m.start[p + 2] = m.start[p + 1] + width[p];
    if (((u64)from | (u64)width[p]) % 4 == 0) m.words |= 2u << p;
  }
  return m;
}

// The words of the block at byte `at`, a multiple of 4; BIG: the first byte of a word is its highest.
template <int WORDS, bool BIG>
__device__ __forceinline__ void block_words(const Message& m, int at, u32 pad, u32 (&w)[WORDS]) {
  __shared__ u32 gathered[WORDS][HASHERS];
  if (const u8* from = m.inside(at, 4 * WORDS)) {
    const u32 off = (u32)((u64)from & 3), order = (BIG ? 0x0123u : 0x3210u) + 0x1111u * off;
    const u32* words = (const u32*)(from - off);
    u32 low = words[0];
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      const u32 high = i + 1 < WORDS || off ? words[i + 1] : 0;
      w[i] = __byte_perm(low, high, order);
      low = high;
    }
    return;
  }
#pragma unroll 1
  for (int i = 0; i < WORDS; ++i) {
    u32 word = 0;
    if (const u8* from = m.inside(at + 4 * i, 4)) {
      const u32 off = (u32)((u64)from & 3);
      const u32* words = (const u32*)(from - off);
      word = __byte_perm(words[0], off ? words[1] : 0, 0x3210u + 0x1111u * off);
    } else {
#pragma unroll 1
      for (int j = 0; j < 4; ++j) word |= m.at(at + 4 * i + j, pad) << (8 * j);
    }
    gathered[i][threadIdx.x] = word;
  }
#pragma unroll
  for (int i = 0; i < WORDS; ++i)
    w[i] = __byte_perm(gathered[i][threadIdx.x], 0, BIG ? 0x0123u : 0x3210u);
}
