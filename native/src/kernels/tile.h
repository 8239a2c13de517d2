// The unit of work that all kernels share.
//
// Ops compute their results in tiles of a few pixels x one block of output channels. The pixels are consecutive in
// row-major order: a tile may continue in the next row, so small maps fill tiles as well as large ones. A tile of sums,
// [pixels][kBlock], stays in the L1 cache: a convolution kernel computes it a few pixels at a time, and the epilogue
// turns it into the values that are stored.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onebit {

using Half = uint16_t;  // the bits of an IEEE binary16

constexpr size_t kBlock = 64;      // channels of a tile; two words of bits, a whole number of vectors everywhere
constexpr size_t kMaxPixels = 24;  // pixels of a tile, at most
constexpr size_t kWordBits = 32;   // channels in one word of bits

constexpr size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The length of a table with one entry per channel: padded so that a whole block can be read from any multiple of 32
// below `channels`.
constexpr size_t padded_channels(size_t channels) { return round_up(channels, kBlock) + kBlock; }

// The distance between the tables of two positions (see ops/conv_plan.h): whole words, since some tables hold bits.
constexpr size_t table_stride(size_t channels) { return round_up(channels, kWordBits); }

constexpr size_t words_for(size_t channels) { return (channels + kWordBits - 1) / kWordBits; }

}  // namespace onebit
