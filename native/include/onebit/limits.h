// What one core can do at most, measured on the spot: the yardstick of a profile.
#pragma once

#include "onebit/engine.h"

namespace onebit {

// Multiply-accumulates per second of threads that run the instructions of an inner loop on registers alone: no kernel
// of the same scheme is faster. 0 where there is no such loop.
struct Limits {
  double binary = 0, float32 = 0, int8 = 0;
};

// Of `threads` threads together, all at the same time. Takes a few milliseconds. Throws std::invalid_argument where
// `isa` cannot run here, or threads are outside 1 ... 1024.
Limits measure_limits(Isa isa, size_t threads = 1);

// The shortest of `repeats` times, in seconds, that the kernel of `isa` takes to count all sums of a binary
// convolution: side x side taps, stride 1, padded by (side - 1) / 2; one thread, tile by tile as the engine lays them,
// with nothing before and nothing behind it. Throws std::invalid_argument where `isa` cannot run here, a size or the
// repeats are outside 1 ... 8192, or the kernel is larger than the map.
double time_binary_kernel(Isa isa, Shape input, size_t out_channels, size_t side, size_t repeats);

}  // namespace onebit
