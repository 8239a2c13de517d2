// Help for loops whose variables must stay in registers.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

// Functions and lambdas that must melt into their caller. Not in builds whose kernels need not be fast (ONEBIT_CALLS):
// under sanitizers or with emulated instructions, code in one piece takes compilers minutes.
#if defined(ONEBIT_CALLS)
#define ONEBIT_INLINE inline
#define ONEBIT_INLINE_LAMBDA
#elif defined(_MSC_VER)
#define ONEBIT_INLINE __forceinline
#define ONEBIT_INLINE_LAMBDA
#else
#define ONEBIT_INLINE inline __attribute__((always_inline))
#define ONEBIT_INLINE_LAMBDA __attribute__((always_inline))
#endif

// Ends an expression here: GCC otherwise reorders a chain of vector additions into a tree, whose leaves then spill.
#if defined(ONEBIT_EMULATE_AVX512)
#define ONEBIT_KEEP_IN_REGISTER(vector) static_cast<void>(vector)
#elif defined(__AVX512F__) && defined(__GNUC__)
#define ONEBIT_KEEP_IN_REGISTER(vector) __asm__("" : "+v"(vector))
#elif defined(__GNUC__) && defined(__x86_64__)
#define ONEBIT_KEEP_IN_REGISTER(vector) __asm__("" : "+x"(vector))
#else
#define ONEBIT_KEEP_IN_REGISTER(vector) static_cast<void>(vector)
#endif

namespace onebit {
namespace {

template <class Function, size_t... i>
ONEBIT_INLINE void unroll_each(Function& f, std::index_sequence<i...>) {
  (f(std::integral_constant<size_t, i>{}), ...);
}

// f(0) ... f(count - 1) with indices that are constants from the start. Compilers split an array into registers before
// they unroll nested loops, so a loop variable as the index of an array of vectors leaves the array in memory.
template <size_t count, class Function>
ONEBIT_INLINE void unroll(Function f) {
#if defined(ONEBIT_CALLS)
  for (size_t i = 0; i != count; ++i) f(i);
#else
  unroll_each(f, std::make_index_sequence<count>{});
#endif
}

// `factor` times an index of `unroll`: a constant where that is one.
template <size_t factor, size_t i>
constexpr std::integral_constant<size_t, factor * i> times(std::integral_constant<size_t, i>) {
  return {};
}
template <size_t factor>
constexpr size_t times(size_t i) {
  return factor * i;
}

}  // namespace
}  // namespace onebit
