// Kernels of the real-valued convolution: sums of products for one tile.
//
// Addressing is that of the binary convolution: the address of each pixel's first tap, and runs of contiguous inputs at
// fixed offsets from it. Weights are packed once per network, in panels of `panel` output channels: panel[k][channel],
// k in the order of the runs. Missing channels are 0.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct FloatTile {
  const uint8_t* const* pixels;  // address of each pixel's first tap
  size_t pixel_count;            // 1 ... kernel.pixels
  const ptrdiff_t* runs;         // byte offset of each run from the first tap
  size_t run_count;
  size_t run_floats;     // inputs in each run
  const float* weights;  // first panel of the block
  size_t channels;       // of the block, 1 ... kBlock
  float* y;              // [pixel_count][kBlock]; entries of missing channels are undefined
};

// Linear combinations: out[r * out_step + i] = sum over k of factors[k] * terms[k][r * term_step + i], for r < repeats
// and i < length. `length` is a multiple of the vector length.
struct Combination {
  const float* const* terms;
  const float* factors;
  size_t term_count, term_step;
  size_t length, repeats;
  float* out;
  size_t out_step;
};

// The output transform of minimal filtering (see ops/minimal_filter.h): from the sums at each point, and at infinity
// last, it computes four results per tile. Result k is the sum over the points of sums[point] * point^k; the sum at
// infinity is added to the last result only.
struct PointSums {
  const float* const* sums;  // [points + 1] arrays [tile][step]
  size_t points;             // 3 ... 6
  size_t tiles, step;
  size_t length;  // channels, a multiple of the panel
  float* out;     // [tile][result][step]
};

struct FloatConvKernel {
  Isa isa;
  const char* name;
  const char* row_name;  // of the convolution by minimal filtering that uses it
  size_t pixels;         // pixels of a full tile
  size_t panel;          // output channels of a panel; divides kBlock
  void (*multiply)(const FloatTile&);
  void (*combine)(const Combination&);
  void (*find_results)(const PointSums&);
};

#define ONEBIT_KERNEL(variable) extern const FloatConvKernel variable;
#include "kernels/float_conv/kernels.inc"
#undef ONEBIT_KERNEL

const FloatConvKernel* const kFloatConvKernels[] = {
#define ONEBIT_KERNEL(variable) &variable,
#include "kernels/float_conv/kernels.inc"
#undef ONEBIT_KERNEL
};

}  // namespace onebit
