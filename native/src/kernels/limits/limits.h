// Loops of only those instructions that an inner loop needs, on registers: no loads, and enough accumulators to hide
// the instructions' latency. Their throughput is the limit that kernels are compared with.
#pragma once

#include "kernels/inline.h"
#include "kernels/tile.h"
#include "onebit/isa.h"

// Hides the content of a vector register from the optimizer at no cost: what is computed from it cannot be hoisted or
// removed. Through a reference, since lambdas in Clang do not capture variables that only inline assembly names. Where
// it is not defined there are no loops.
#if defined(__x86_64__) && !defined(ONEBIT_EMULATE_AVX512)
#define ONEBIT_FORGET(vector)               \
  do {                                      \
    auto& forgotten = vector;               \
    __asm__ volatile("" : "+v"(forgotten)); \
  } while (false)
#elif defined(__aarch64__)
#define ONEBIT_FORGET(vector)               \
  do {                                      \
    auto& forgotten = vector;               \
    __asm__ volatile("" : "+w"(forgotten)); \
  } while (false)
#endif

namespace onebit {

struct LimitLoop {
  size_t macs = 0;                       // multiply-accumulates of one round
  void (*run)(size_t rounds) = nullptr;  // null: no such loop
  Feature feature = Feature::none;
};

struct LimitLoops {
  Isa isa;
  LimitLoop binary = {}, float32 = {}, int8 = {};
};

#if defined(ONEBIT_FORGET)
namespace {

// Applies sum = step(sum) `rounds` times to each of `count` accumulators that start at zero.
template <size_t count, class Vector, class Step>
ONEBIT_INLINE void add_up(size_t rounds, Vector zero, Step step) {
  Vector sum[count];
  unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA {
    sum[i] = zero;
    ONEBIT_FORGET(sum[i]);  // or they would be merged into one
  });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA { sum[i] = step(sum[i]); });
  }
  unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum[i]); });
}

}  // namespace
#endif

#define ONEBIT_KERNEL(variable) extern const LimitLoops variable;
#include "kernels/limits/kernels.inc"
#undef ONEBIT_KERNEL

const LimitLoops* const kLimitLoops[] = {
#define ONEBIT_KERNEL(variable) &variable,
#include "kernels/limits/kernels.inc"
#undef ONEBIT_KERNEL
};

}  // namespace onebit
