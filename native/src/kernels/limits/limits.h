// Loops of the instructions that an inner loop cannot do without, on registers alone: no loads, no addresses, and sums
// enough that none waits for another. Their speed is the limit that kernels are held against.
#pragma once

#include "kernels/inline.h"
#include "kernels/tile.h"
#include "onebit/isa.h"

// Makes the compiler forget what it knows of a vector register, at no cost: what is computed from it is then computed
// again each time, and what it holds counts as used. By a reference, since Clang's lambdas do not capture what only
// assembler names. Elsewhere there are no loops.
#if defined(__GNUC__) && defined(__x86_64__) && !defined(ONEBIT_EMULATE_AVX512)
#define ONEBIT_FORGET(vector)               \
  do {                                      \
    auto& forgotten = vector;               \
    __asm__ volatile("" : "+v"(forgotten)); \
  } while (false)
#elif defined(__GNUC__) && defined(__aarch64__)
#define ONEBIT_FORGET(vector)               \
  do {                                      \
    auto& forgotten = vector;               \
    __asm__ volatile("" : "+w"(forgotten)); \
  } while (false)
#endif

namespace onebit {

struct LimitLoop {
  size_t macs = 0;                       // multiply-accumulates of one round
  void (*run)(size_t rounds) = nullptr;  // null: there is none
  Feature feature = Feature::none;
};

struct LimitLoops {
  Isa isa;
  LimitLoop binary, float32, int8;
};

#if defined(ONEBIT_FORGET)
namespace {

// `count` sums, from zero on: sum = step(sum), `rounds` times each.
template <size_t count, class Vector, class Step>
ONEBIT_INLINE void add_up(size_t rounds, Vector zero, Step step) {
  Vector sum[count];
  unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA {
    sum[i] = zero;
    ONEBIT_FORGET(sum[i]);  // or all sums are one
  });
  for (size_t r = 0; r < rounds; ++r) {
    unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA { sum[i] = step(sum[i]); });
  }
  unroll<count>([&](auto i) ONEBIT_INLINE_LAMBDA { ONEBIT_FORGET(sum[i]); });
}

}  // namespace
#endif

#define ONEBIT_LIMIT_LOOPS(isa, variable) extern const LimitLoops variable;
#include "kernels/limits/kernels.inc"
#undef ONEBIT_LIMIT_LOOPS

const LimitLoops* const kLimitLoops[] = {
#define ONEBIT_LIMIT_LOOPS(isa, variable) &variable,
#include "kernels/limits/kernels.inc"
#undef ONEBIT_LIMIT_LOOPS
};

}  // namespace onebit
