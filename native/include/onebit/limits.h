// The peak throughput of a core, measured: what profiles are compared with.
#pragma once

#include "onebit/engine.h"

namespace onebit {

// Multiply-accumulates per second of loops with only the instructions that an inner loop needs, on registers. No kernel
// with the same algorithm can be faster. 0: there is no such loop.
struct Limits {
  double binary = 0, float32 = 0, int8 = 0;
};

// Of `threads` threads together. Takes a few milliseconds. Throws std::invalid_argument if `isa` cannot run here or
// `threads` is outside 1 ... 1024.
Limits measure_limits(Isa isa, size_t threads = 1);

// The least of `repeats` times, in seconds, of the binary convolution kernel of `isa` alone, without preparation and
// epilogue: side x side taps, stride 1, padding (side - 1) / 2, one thread, the engine's tiles. Throws
// std::invalid_argument if `isa` cannot run here, a size or `repeats` is outside 1 ... 8192, or the kernel is larger
// than the map.
double time_binary_kernel(Isa isa, Shape input, size_t out_channels, size_t side, size_t repeats);

}  // namespace onebit
