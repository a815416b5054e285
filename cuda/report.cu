// report: collects what goes to the host at the end of a step: a status word and the step's int32 results.
//
//   words [count] int32    one for each check, in order; 0 if it found nothing. Zeroed at the end.
//   found [2] int32        what earlier checks found: found[0] = 1 + number of the first check whose word was not
//                          0, found[1] = that word; zeros if they found nothing
//   tokens [n] int32
//   out [2 + n] int32      found, with these checks after the earlier ones (the first of them is number `base`);
//                          then the tokens, and `found` is zeroed. If out is null, `found` is updated instead.
//
// Launch: one block of THREADS threads; 32 bytes of shared memory; no alignment beyond that of the elements.
#include "canonical.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    report(int* __restrict__ words, int count, int base, int* __restrict__ found, const int* __restrict__ tokens, int n,
           int* __restrict__ out) {
  u32 last = 0;  // count - index, so that the first check has the largest
  for (int i = threadIdx.x; i < count; i += THREADS)
    if (words[i] && (u32)(count - i) > last) last = (u32)(count - i);
  last = block_max(last);
  if (threadIdx.x == 0) {
    int number = found[0], word = found[1];
    if (!number && last) {
      number = base + 1 + count - (int)last;
      word = words[count - (int)last];
    }
    found[0] = out ? 0 : number;
    found[1] = out ? 0 : word;
    if (out) {
      out[0] = number;
      out[1] = word;
    }
  }
  __syncthreads();  // all threads have read the word
  for (int i = threadIdx.x; i < count; i += THREADS) words[i] = 0;
  for (int i = threadIdx.x; i < n; i += THREADS) out[2 + i] = tokens[i];
}
