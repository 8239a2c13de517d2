// Kernels that finish a tile: everything that happens to an op's result before it is stored.
//
// The result y of one pixel's block of channels stays in registers while the steps of docs/format.md pass over it, so
// batch norm, activation, shortcut, sign and packing never become passes over a whole map. Multiplications and
// additions are rounded separately (never fused), so every instruction set gives the same bits.
#pragma once

#include "kernels/tile.h"
#include "onebit/isa.h"

namespace onebit {

using Half = uint16_t;  // the bits of an IEEE binary16

enum class StepKind : uint8_t { affine, slopes, clamp, add, levels, binarize, threshold, store };

// A step as kernels see it. Tables can be read a whole block from every tile's entry on; values are named by their
// index, because where the network's input lies changes from run to run.
struct StepPlan {
  StepKind kind;
  bool inclusive = false;          // the rule `step` (x <= t) instead of `sign` (x < t)
  bool half = false;               // add, store: the value holds float16
  float low = 0, high = 0;         // clamp, levels
  const float* first = nullptr;    // affine: scale; slopes: positive; binarize: threshold
  const float* second = nullptr;   // affine: bias; slopes: negative
  const int32_t* below = nullptr;  // threshold
  const uint32_t* flip = nullptr;  // threshold
  size_t value = 0;                // add: read; binarize, threshold, store: written
};

// A value of which only some rows are in memory: `data` is its pixel number `first_pixel`.
struct PartialValue {
  static constexpr size_t kNone = SIZE_MAX;

  size_t value = kNone;
  uint8_t* data = nullptr;
  size_t first_pixel = 0;
};

struct EpilogueTile {
  const StepPlan* steps;
  size_t step_count;
  uint8_t* const* values;  // address of every value of the image
  PartialValue part;       // but of this one
  size_t pixel;            // first pixel of the result, counted in row-major order
  size_t pixel_step;       // from there to the next
  size_t pixel_count;
  size_t channel;         // first channel of the result, a multiple of kWordBits
  size_t table;           // its entry in the tables, a multiple of kWordBits
  size_t channels;        // channels of this tile, 1 ... kBlock
  size_t total_channels;  // channels of the op's result
};

// What is pooled into each pixel of a tile: the pixels of the input that its window covers, `tap_count` for each, in
// whose place others may stand that do not change the result.
struct PoolWindows {
  const uint8_t* const* taps;  // [pixel_count][tap_count], channel 0 of each
  size_t tap_count;
  bool half;              // taps are float16
  const float* divisors;  // one for each pixel of the tile: a mean; null: a maximum
};

struct EpilogueKernel {
  Isa isa;
  const char* name;
  // y is [pixel_count][stride].
  void (*floats)(const EpilogueTile&, const float* y, size_t stride);
  void (*halves)(const EpilogueTile&, const Half* y, size_t stride);
  // The same for binary convolutions: y = depth[p] - 2 * diff, where depth[p] points at the tile's first channel of a
  // padded table for each pixel.
  void (*counts)(const EpilogueTile&, const int32_t* diff, size_t stride, const int32_t* const* depth);
  void (*windows)(const EpilogueTile&, const PoolWindows&);
  // The floats that `count` halves are, exactly; a NaN is quiet.
  void (*widen)(const Half* from, size_t count, float* to);
};

#define ONEBIT_EPILOGUE_KERNEL(isa, variable) extern const EpilogueKernel variable;
#include "kernels/epilogue/kernels.inc"
#undef ONEBIT_EPILOGUE_KERNEL

const EpilogueKernel* const kEpilogueKernels[] = {
#define ONEBIT_EPILOGUE_KERNEL(isa, variable) &variable,
#include "kernels/epilogue/kernels.inc"
#undef ONEBIT_EPILOGUE_KERNEL
};

}  // namespace onebit
