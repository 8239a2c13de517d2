// Kernels of the convolution of pixels (uint8) with int8 weights: exact integer sums for one tile, scaled at the end.
//
// Addressing is that of the other convolutions: the address of each pixel's first tap, and runs of contiguous values at
// fixed offsets from it. A run is processed in *words* of `word_values` values, as many as an instruction multiplies
// and adds. The weights of values past the end of a run are zero.
//
// Pixels are *prepared*: the values of the map minus `offset`, in `value_bytes` bytes each; one word past the end of
// the map is readable. Weights are packed once per network, in panels of `panel` output channels:
// panel[word][channel][value], in `value_bytes` bytes each. Missing channels are 0. The accumulators start at a value
// for each pixel and channel that corrects for the offset, the zero point and taps outside the map.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

struct Int8Tile {
  const uint8_t* const* pixels;  // address of each pixel's first tap
  size_t pixel_count;            // 1 ... kernel.pixels
  const ptrdiff_t* runs;         // byte offset of each run from the first tap
  size_t run_count;
  size_t run_words;             // words in each run
  const uint8_t* weights;       // first panel of the block
  size_t channels;              // of the block, 1 ... kBlock
  const int32_t* const* start;  // of each pixel's accumulators, readable for kBlock channels
  const float* scale;           // readable for kBlock channels
  float* y;  // [pixel_count][kBlock]: scale * sum; entries of missing channels are finite but undefined
};

struct Int8ConvKernel {
  Isa isa;
  Feature feature;
  const char* name;
  size_t pixels;       // pixels of a full tile
  size_t panel;        // output channels of a panel; divides kBlock
  size_t value_bytes;  // of a prepared pixel value and of a weight: 1 or 2
  size_t word_values;  // values multiplied and added at once; all sums of products stay below 2^31
  int32_t offset;      // subtracted from pixels, so that they fit their type
  void (*multiply)(const Int8Tile&);
};

#define ONEBIT_KERNEL(variable) extern const Int8ConvKernel variable;
#include "kernels/int8_conv/kernels.inc"
#undef ONEBIT_KERNEL

const Int8ConvKernel* const kInt8ConvKernels[] = {
#define ONEBIT_KERNEL(variable) &variable,
#include "kernels/int8_conv/kernels.inc"
#undef ONEBIT_KERNEL
};

}  // namespace onebit
