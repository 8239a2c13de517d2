// Functions that must melt into their caller, so that vectors stay in registers.
#pragma once

#if defined(_MSC_VER)
#define ONEBIT_INLINE __forceinline
#else
#define ONEBIT_INLINE inline __attribute__((always_inline))
#endif

// Ends an expression here: GCC otherwise reorders a chain of vector additions into a tree, whose leaves then spill.
#if defined(__GNUC__) && defined(__x86_64__)
#define ONEBIT_KEEP_IN_REGISTER(vector) __asm__("" : "+x"(vector))
#else
#define ONEBIT_KEEP_IN_REGISTER(vector) static_cast<void>(vector)
#endif
