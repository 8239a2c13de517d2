// The AVX-512 intrinsics that kernels use: the compiler's own, or in a test build an emulation in plain C++, so that
// the same kernel source can be tested on any CPU.
#pragma once

#if defined(ONEBIT_EMULATE_AVX512)
#include "emulated_avx512.h"
#else
#include <immintrin.h>
#endif
