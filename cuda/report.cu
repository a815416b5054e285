// report: what crosses to the host at the end of a step: a status word, and the step's int32 results.
//
//   words [count] int32    one for each check of the step, in order; 0 where nothing was found. Zeroed.
//   tokens [n] int32
//   out [2 + n] int32      out[0] = 1 + index of the first word that is not 0, or 0; out[1] = that word;
//                          then the tokens
//
// Launch: one block of THREADS threads; 32 bytes of shared memory; no alignment beyond that of the elements.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    report(int* __restrict__ words, int count, const int* __restrict__ tokens, int n, int* __restrict__ out) {
  u32 last = 0;  // count - index, so that the first is the largest
  for (int i = threadIdx.x; i < count; i += THREADS)
    if (words[i] && (u32)(count - i) > last) last = (u32)(count - i);
  last = block_max(last);
  if (threadIdx.x == 0) {
    out[0] = last ? 1 + count - (int)last : 0;
    out[1] = last ? words[count - (int)last] : 0;
  }
  __syncthreads();  // the word has been read
  for (int i = threadIdx.x; i < count; i += THREADS) words[i] = 0;
  for (int i = threadIdx.x; i < n; i += THREADS) out[2 + i] = tokens[i];
}
