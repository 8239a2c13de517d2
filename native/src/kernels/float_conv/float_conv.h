// Kernels of the real-valued convolution: sums of products for one tile.
//
// Addresses work as in the binary convolution: each pixel has the address of its first tap, and the taps are a few
// contiguous runs at fixed distances. Weights are interleaved once per model into panels of `panel` output channels:
// panel[k][channel], k in the order in which the runs visit the inputs; missing channels are 0.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct FloatTile {
  const uint8_t* const* pixels;  // first tap of each pixel
  size_t pixel_count;            // 1 ... kernel.pixels
  const ptrdiff_t* runs;         // distance in bytes of each run from the first tap
  size_t run_count;
  size_t run_floats;     // inputs in each run
  const float* weights;  // first panel of the block
  size_t channels;       // channels of the block that exist, 1 ... kBlock
  float* y;              // [pixel_count][kBlock]; entries of channels that do not exist may hold anything
};

// Sums of floats times factors: out[i] = sum over terms of factors[term] * terms[term][i], for i below `length`, a
// whole number of vectors; then `repeats - 1` times more, the terms and the result further on by their steps.
struct Combination {
  const float* const* terms;
  const float* factors;
  size_t term_count, term_step;
  size_t length, repeats;
  float* out;
  size_t out_step;
};

// Sums at the first points of minimal filtering and, last, at infinity (see ops/minimal_filter.h), for each of some
// tiles; each makes four results: result k is the sum over the points of sum * point^k, where infinity stands for 0 but
// for 1 in the last.
struct PointSums {
  const float* const* sums;  // [points + 1], from there on [tile][step]
  size_t points;             // 3 ... 6
  size_t tiles, step;
  size_t length;  // floats of a tile: whole panels
  float* out;     // [tile][result][step]
};

struct FloatConvKernel {
  Isa isa;
  const char* name;
  const char* row_name;  // of the convolution along rows that uses it
  size_t pixels;         // pixels of a full tile
  size_t panel;          // output channels interleaved; divides kBlock
  void (*multiply)(const FloatTile&);
  void (*combine)(const Combination&);
  void (*find_results)(const PointSums&);
};

#define ONEBIT_FLOAT_CONV_KERNEL(isa, variable) extern const FloatConvKernel variable;
#include "kernels/float_conv/kernels.inc"
#undef ONEBIT_FLOAT_CONV_KERNEL

const FloatConvKernel* const kFloatConvKernels[] = {
#define ONEBIT_FLOAT_CONV_KERNEL(isa, variable) &variable,
#include "kernels/float_conv/kernels.inc"
#undef ONEBIT_FLOAT_CONV_KERNEL
};

}  // namespace onebit
