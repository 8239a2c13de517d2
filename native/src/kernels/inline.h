// Forced inlining and unrolling, for loops whose variables must stay in registers.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

// Functions and lambdas that must be inlined. With ONEBIT_CALLS they are not: under sanitizers and with emulated
// instructions kernels need not be fast, and fully inlined they take minutes to compile.
#if defined(ONEBIT_CALLS)
#define ONEBIT_INLINE inline
#define ONEBIT_INLINE_LAMBDA
#else
#define ONEBIT_INLINE inline __attribute__((always_inline))
#define ONEBIT_INLINE_LAMBDA __attribute__((always_inline))
#endif

// Keeps GCC from reassociating a chain of vector additions into a tree, whose operands would spill to the stack.
#if defined(ONEBIT_EMULATE_AVX512)
#define ONEBIT_KEEP_IN_REGISTER(vector) static_cast<void>(vector)
#elif defined(__AVX512F__)
#define ONEBIT_KEEP_IN_REGISTER(vector) __asm__("" : "+v"(vector))
#elif defined(__x86_64__)
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

// Calls f(0) ... f(count - 1) with compile-time constants. Compilers split arrays into registers before they unroll
// nested loops, so an array of vectors that is indexed by a loop variable would stay in memory.
template <size_t count, class Function>
ONEBIT_INLINE void unroll(Function f) {
#if defined(ONEBIT_CALLS)
  for (size_t i = 0; i != count; ++i) f(i);
#else
  unroll_each(f, std::make_index_sequence<count>{});
#endif
}

// `factor` times an index of `unroll`, as a constant where the index is one.
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
