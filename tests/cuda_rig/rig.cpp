// The scheduler of rig.h: runs the blocks of a launch, their threads as fibers, in one of several orders.
//
// A launch fails, with a sentence, where threads wait at different barriers, where some have ended while
// others wait, and where lanes named by a warp operation's mask do not come. `order` 0 is ascending, 1
// descending, any other a seed: threads are then shuffled anew after every barrier, and blocks once.

#include "rig.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// Not instrumented: the scheduler is not part of the program that is checked.
#define PLAIN __attribute__((noinline, no_sanitize("thread"), no_sanitize("address")))

rig_index threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr std::size_t STACK = 128 * 1024;
constexpr unsigned WARP = 32;

enum class State { ready, barrier, warp, done };

struct Fiber {
  State state;
  const char* place;
  unsigned mask;      // of the warp operation it waits for
  unsigned exchange;  // warp operations so far
  void* stack;
  std::size_t size;  // of the stack
#if defined(__x86_64__)
  void* pointer;
#else
  ucontext_t context;
#endif
  void* fake_stack;  // AddressSanitizer's
  void* tsan;
};

struct Kernel {
  rig_entry entry;
  std::vector<unsigned> sizes;
};

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

std::vector<Fiber> fibers;
Fiber home;
unsigned current;
unsigned phase;  // barriers so far in this block
char ordered[3];  // what ThreadSanitizer is told that barriers synchronise: two in turn, and the launch
rig_entry entry;
void** arguments;
std::string failure;

// -- switching -----------------------------------------------------------------------------------------------
#if defined(__x86_64__)
extern "C" void rig_switch(void** save, void* load);
// The registers that a call preserves, and the stack pointer (System V ABI, AMD64 supplement, section 3.2.1).
asm(R"(
.text
.globl rig_switch
.hidden rig_switch
.type rig_switch, @function
rig_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size rig_switch, .-rig_switch
)");
#endif

PLAIN void change(Fiber& from, Fiber& to, bool last) {
  (void)last;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  rig_switch(&from.pointer, to.pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

PLAIN void acquire(unsigned which) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(&ordered[which]);
#endif
  (void)which;
}

PLAIN void release(unsigned which) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(&ordered[which]);
#endif
  (void)which;
}

PLAIN void body() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom;
  std::size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!home.stack) {
    home.stack = const_cast<void*>(bottom);
    home.size = size;
  }
#endif
  acquire(2);
  entry(arguments);
  release(2);
  fibers[current].state = State::done;
  change(fibers[current], home, true);
  __builtin_unreachable();
}

PLAIN void prepare(Fiber& fiber) {
  fiber.state = State::ready;
  fiber.place = nullptr;
  fiber.exchange = 0;
  fiber.fake_stack = nullptr;
  if (!fiber.stack) {
    fiber.stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fiber.stack == MAP_FAILED) std::abort();
    fiber.size = STACK;
  }
#if defined(__SANITIZE_THREAD__)
  if (!fiber.tsan) fiber.tsan = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + STACK);
  *--top = nullptr;  // keeps the stack aligned to 16 where body begins
  *--top = reinterpret_cast<void*>(body);
  fiber.pointer = top - 6;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack = {fiber.stack, 0, STACK};
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, body, 0);
#endif
}

PLAIN void wait(State state, const char* place) {
  fibers[current].state = state;
  fibers[current].place = place;
  change(fibers[current], home, false);
}

// -- a block ---------------------------------------------------------------------------------------------------
std::vector<rig_lanes> exchanged[2];  // of each warp, in turn

PLAIN bool release_warps(unsigned threads) {
  bool any = false;
  for (unsigned w = 0; w * WARP < threads; ++w) {
    const unsigned lanes = std::min(WARP, threads - w * WARP);
    for (unsigned l = 0; l < lanes; ++l) {
      Fiber& one = fibers[w * WARP + l];
      if (one.state != State::warp) continue;
      bool all = true;
      for (unsigned k = 0; k < WARP; ++k) {
        if (!(one.mask >> k & 1)) continue;
        const Fiber* other = k < lanes ? &fibers[w * WARP + k] : nullptr;
        all = all && other && other->state == State::warp && other->mask == one.mask &&
              !std::strcmp(other->place, one.place);
      }
      if (!all) continue;
      for (unsigned k = 0; k < lanes; ++k)
        if (one.mask >> k & 1) fibers[w * WARP + k].state = State::ready;
      any = true;
    }
  }
  return any;
}

PLAIN std::string describe(unsigned threads) {
  std::map<std::string, unsigned> counts;
  for (unsigned t = 0; t < threads; ++t) {
    const Fiber& f = fibers[t];
    std::string where = f.state == State::done ? "ended" : f.state == State::warp ? "in a warp operation at " : "at the barrier ";
    if (f.state != State::done) where += f.place;
    ++counts[where];
  }
  std::string text = "divergent block:";
  for (const auto& [where, count] : counts) text += " " + std::to_string(count) + " threads " + where + ";";
  text.pop_back();
  return text;
}

PLAIN bool run_block(unsigned order, std::mt19937& random) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  std::vector<unsigned> turn(threads);
  std::iota(turn.begin(), turn.end(), 0u);
  if (order == 1) std::reverse(turn.begin(), turn.end());
  for (unsigned t = 0; t < threads; ++t) prepare(fibers[t]);
  phase = 0;
  for (;;) {
    if (order > 1) std::shuffle(turn.begin(), turn.end(), random);
    for (unsigned t : turn) {
      if (fibers[t].state != State::ready) continue;
      current = t;
      threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
      change(home, fibers[t], false);
    }
    if (release_warps(threads)) continue;
    unsigned done = 0, waiting = 0;
    const char* place = nullptr;
    for (unsigned t = 0; t < threads; ++t) {
      const Fiber& f = fibers[t];
      done += f.state == State::done;
      if (f.state != State::barrier) continue;
      if (!place) place = f.place;
      waiting += !std::strcmp(place, f.place);
    }
    if (done == threads) return true;
    if (waiting != threads) {
      failure = describe(threads);
      return false;
    }
    ++phase;
    for (unsigned t = 0; t < threads; ++t) fibers[t].state = State::ready;
  }
}

}  // namespace

PLAIN void rig_barrier(const char* place) {
  // Two objects in turn: a fast thread's next barrier must not order a slow thread's last one.
  const unsigned now = phase % 2;
  release(now);
  wait(State::barrier, place);
  acquire(now);
}

PLAIN unsigned rig_lane() { return current % WARP; }

PLAIN const rig_lanes& rig_exchange(unsigned mask, const void* mine, unsigned size, const char* place) {
  Fiber& f = fibers[current];
  rig_lanes& all = exchanged[f.exchange++ % 2][current / WARP];
  unsigned char* to = all.bytes[current % WARP];
  for (unsigned i = 0; i < size; ++i) to[i] = static_cast<const unsigned char*>(mine)[i];
  f.mask = mask;
  wait(State::warp, place);
  return all;
}

void rig_register(const char* name, rig_entry function, unsigned count, const unsigned* sizes) {
  kernels()[name] = {function, std::vector<unsigned>(sizes, sizes + count)};
}

// The number of a kernel's arguments and, in `sizes`, their sizes in bytes (up to `room`), 128 more if the
// argument is a pointer to what the kernel only reads; -1 if unknown.
extern "C" int rig_arguments(const char* name, unsigned* sizes, unsigned room) {
  const auto found = kernels().find(name);
  if (found == kernels().end()) return -1;
  const auto& have = found->second.sizes;
  for (unsigned i = 0; i < room && i < have.size(); ++i) sizes[i] = have[i];
  return (int)have.size();
}

// Runs a kernel; null, or what went wrong.
extern "C" PLAIN const char* rig_launch(const char* name, const unsigned* grid, const unsigned* block,
                                        void** values, unsigned order) {
  const auto found = kernels().find(name);
  const unsigned threads = block[0] * block[1] * block[2];
  if (found == kernels().end()) return "no such kernel";
  if (!threads || threads > 1024) return "a block has 1 to 1024 threads";
  if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) return "no such grid";
  entry = found->second.entry;
  arguments = values;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  if (fibers.size() < threads) fibers.resize(threads);
  for (auto& e : exchanged) e.resize((threads + WARP - 1) / WARP);
#if defined(__SANITIZE_THREAD__)
  if (!home.tsan) home.tsan = __tsan_get_current_fiber();
#endif
  std::mt19937 random(order);
  std::vector<std::uint64_t> blocks((std::uint64_t)grid[0] * grid[1] * grid[2]);
  std::iota(blocks.begin(), blocks.end(), 0u);
  if (order == 1) std::reverse(blocks.begin(), blocks.end());
  if (order > 1) std::shuffle(blocks.begin(), blocks.end(), random);
  failure.clear();
  release(2);  // blocks are ordered among themselves: they share the static variables
  for (std::uint64_t b : blocks) {
    blockIdx = {(unsigned)(b % grid[0]), (unsigned)(b / grid[0] % grid[1]), (unsigned)(b / grid[0] / grid[1])};
    if (!run_block(order, random)) return failure.c_str();
  }
  acquire(2);
  return nullptr;
}
